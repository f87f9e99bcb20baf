"""GPTQ: round one input's weights after the other, and let those to come make up for each error.

Optimal brain surgeon with fixed scales (arXiv 2210.17323, Algorithm 1): ``H = Σ x xᵀ`` says how the
errors of inputs add up in the outputs; the Cholesky factor of its inverse, by how much a later
weight has to move.
"""

from __future__ import annotations

import torch
from torch import Tensor

from hwsearch.compression.rounding.grid import Grid

#: Added to each input's own entry of the Hessian, as a share of it: the first that lets it be inverted.
#: A share of the mean, as is usual, would drown ordinary inputs where a few are 10,000 times as large.
DAMPINGS = (0.01, 0.1, 1.0)

#: Inputs whose errors are handed on together.
BLOCK = 128


def gptq(
    weight: Tensor, hessian: Tensor, grid: Grid, *, by_activation: bool = False
) -> Tensor | None:
    """Numbers ``[out, in]`` for weights; None where no damping makes the Hessian invertible.

    Args:
        weight: ``[out, in]``; left as it is.
        hessian: sum of ``x xᵀ`` over inputs x, ``[in, in]``. An input that was always 0 has its weights
            rounded to nearest.
        grid: the scales.
        by_activation: begin with the inputs that are largest, so that most others are left to make up
            for their errors; else in the order in which they are.
    """
    diagonal = hessian.diagonal()
    order = torch.arange(len(diagonal), device=weight.device)
    if by_activation:
        order = diagonal.argsort(descending=True, stable=True)
    upper = damped_inverse_root(hessian[order][:, order])
    if upper is None:
        return None
    return _rounded(weight, upper.to(torch.float32), grid, order)


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


def _rounded(weight: Tensor, upper: Tensor, grid: Grid, order: Tensor) -> Tensor:
    """One input after the other, in an order; inputs are rows here, which lie together in memory."""
    form, places = grid.form, order.tolist()
    left = weight.float().T[order].contiguous()
    scales = grid.by_input.T.contiguous()
    numbers = torch.zeros_like(scales)
    for first in range(0, len(places), BLOCK):
        last = min(first + BLOCK, len(places))
        errors = torch.empty_like(left[first:last])
        for index in range(first, last):
            place = places[index]
            scale = scales[place]
            number = (left[index] / scale).round_().clamp_(form.low, form.high)
            if form.pair_sum is not None and place ^ 1 < len(places):
                most = form.pair_sum - numbers[place ^ 1].abs()
                number = number.minimum(most).maximum(-most)
            numbers[place] = number
            error = (left[index] - number * scale).div_(upper[index, index])
            errors[index - first] = error
            left[index + 1 : last].addr_(upper[index, index + 1 : last], error, alpha=-1)
        left[last:].addmm_(upper[first:last, last:].T, errors, alpha=-1)
    return numbers.T.contiguous()
