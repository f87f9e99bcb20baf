"""GPTQ: round one input's weights after the other, and let those to come make up for each error.

Optimal brain surgeon with fixed scales (arXiv 2210.17323, Algorithm 1): ``H = Σ x xᵀ`` says how the
errors of inputs add up in the outputs; the Cholesky factor of its inverse, by how much a later
weight has to move.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from hwsearch.compression.rounding.grid import Grid

#: Added to each input's own entry of the Hessian, as a share of it: the first that lets it be inverted.
#: A share of the mean, as is usual, would drown ordinary inputs where a few are 10,000 times as large.
DAMPINGS = (0.01, 0.1, 1.0)

#: Inputs whose errors are handed on together.
BLOCK = 128


@dataclass(frozen=True, eq=False)
class InputOrder:
    """In which order inputs are rounded, and how much others have to move for it.

    Attributes:
        places: the inputs, first to last, ``[in]``.
        upper: Cholesky factor of the damped Hessian's inverse in that order, ``[in, in]``, float32.
    """

    places: Tensor
    upper: Tensor

    @classmethod
    def of(cls, hessian: Tensor, *, by_activation: bool = False) -> InputOrder | None:
        """The order in which inputs are; None where no damping makes the Hessian invertible.

        Args:
            hessian: sum of ``x xᵀ`` over inputs x, ``[in, in]``. An input that was always 0 has its
                weights rounded to nearest.
            by_activation: begin with the inputs that are largest, so that most others are left to make
                up for their errors.
        """
        places = torch.arange(len(hessian), device=hessian.device)
        if by_activation:
            places = hessian.diagonal().argsort(descending=True, stable=True)
        upper = damped_inverse_root(hessian[places][:, places])
        return None if upper is None else cls(places, upper.float())


def damped_inverse_root(hessian: Tensor) -> Tensor | None:
    """Upper Cholesky factor of the damped Hessian's inverse, in float64; None where there is none."""
    exact = hessian.double()
    dead = exact.diagonal() <= 0
    for damping in DAMPINGS:
        damped = exact.clone()
        damped.diagonal().mul_(1 + damping).masked_fill_(dead, 1.0)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if int(failed) == 0:
            upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
            if int(failed) == 0 and bool(upper.isfinite().all()):
                return upper
    return None


def gptq(weight: Tensor, order: InputOrder, grid: Grid) -> Tensor:
    """Numbers ``[out, in]`` for weights.

    Args:
        weight: ``[out, in]``; left as it is.
        order: of the inputs.
        grid: the scales.
    """
    # inputs are rows here, which lie together in memory
    form, places, upper = grid.form, order.places.tolist(), order.upper
    left = weight.float().T[order.places].contiguous()
    scales = grid.scales.T.contiguous()
    bounds = [bound.T.contiguous() for bound in grid.bounds]
    numbers = torch.zeros_like(left)
    for first in range(0, len(places), BLOCK):
        last = min(first + BLOCK, len(places))
        errors = torch.empty_like(left[first:last])
        for index in range(first, last):
            place = places[index]
            group = place // grid.width
            scale, (low, high) = scales[group], (bound[group] for bound in bounds)
            number = (left[index] / scale).round_().clamp_(low, high)
            if form.pair_sum is not None and place ^ 1 < len(places):
                most = form.pair_sum - numbers[place ^ 1].abs()
                number = number.minimum(most).maximum(-most)
            numbers[place] = number
            error = (left[index] - number * scale).div_(upper[index, index])
            errors[index - first] = error
            left[index + 1 : last].addr_(upper[index, index + 1 : last], error, alpha=-1)
        left[last:].addmm_(upper[first:last, last:].T, errors, alpha=-1)
    return numbers.T.contiguous()
