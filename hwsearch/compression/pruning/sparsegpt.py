"""SparseGPT: zero weights one input at a time, and let the inputs to come make up for each.

Optimal brain surgeon with a fixed order of inputs (arXiv 2301.00774, Algorithm 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from hwsearch.errors import PlanError
from hwsearch.plan import kept_of

#: Added to the Hessian's diagonal, as a share of its mean.
DAMPING = 0.01

#: Inputs whose mask is chosen together.
BLOCK = 128


def sparsegpt(weight: Tensor, hessian: Tensor, sparsity: float | str) -> Tensor:
    """Weights ``[out, in]`` with some zeroed and the others adjusted.

    A share is taken of each block of 128 inputs over all outputs; a pattern of each output's groups.

    Args:
        weight: left as it is.
        hessian: sum of ``x xᵀ`` over inputs x, ``[in, in]``.
        sparsity: share to zero, or ``"N:M"``.

    Raises:
        PlanError: the inputs are no multiple of the pattern's M.
    """
    dead = hessian.diagonal() == 0
    weight = weight.double().masked_fill(dead, 0.0)
    upper = inverse_root(hessian)
    pattern = kept_of(sparsity) if isinstance(sparsity, str) else None
    if pattern and weight.shape[1] % pattern[1]:
        raise PlanError(
            f"sparsity {sparsity} needs inputs in multiples of {pattern[1]}, and a linear has "
            f"{weight.shape[1]}; choose another pattern, or a share"
        )
    for first in range(0, weight.shape[1], BLOCK):
        block = slice(first, min(first + BLOCK, weight.shape[1]))
        pruned, error = _block(weight[:, block], upper[block, block], sparsity, pattern)
        weight[:, block] = pruned
        weight[:, block.stop :] -= error @ upper[block, block.stop :]
    return weight.float()


def _block(
    weight: Tensor, upper: Tensor, sparsity: float | str, pattern: tuple[int, int] | None
) -> tuple[Tensor, Tensor]:
    """One block, pruned; and the errors that the inputs after it make up for."""
    weight, error = weight.clone(), torch.zeros_like(weight)
    scale = upper.diagonal()
    zeroed = torch.zeros_like(weight, dtype=torch.bool)
    if pattern is None:
        score = (weight / scale).square().flatten()
        count = int(float(sparsity) * score.numel())
        zeroed.view(-1)[score.argsort(stable=True)[:count]] = True
    for index in range(weight.shape[1]):
        if pattern is not None and index % pattern[1] == 0:
            group = slice(index, index + pattern[1])
            score = (weight[:, group] / scale[group]).square()
            worst = score.argsort(dim=1, stable=True)[:, : pattern[1] - pattern[0]]
            zeroed[:, group].scatter_(1, worst, True)
        column = weight[:, index].masked_fill(zeroed[:, index], 0.0)
        error[:, index] = (weight[:, index] - column) / scale[index]
        weight[:, index:] -= error[:, index, None] * upper[index, index:]
        weight[:, index] = column
    return weight, error


def damped(hessian: Tensor) -> Tensor:
    """The Hessian in float64, dead inputs set to 1, its diagonal raised by `DAMPING`."""
    hessian = hessian.double().clone()
    diagonal = hessian.diagonal()
    diagonal[diagonal == 0] = 1.0
    diagonal += DAMPING * diagonal.mean()
    return hessian


def inverse_root(hessian: Tensor) -> Tensor:
    """Upper Cholesky factor of the damped Hessian's inverse."""
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped(hessian)))
    return torch.linalg.cholesky(inverse, upper=True)


def refit(weight: Tensor, hessian: Tensor, kept: Tensor) -> Tensor:
    """Columns of `weight` that stay, adjusted to make up for those that go, ``[out, kept]``.

    The least-squares fit of the outputs on the inputs that stay: ``W H[:, S] H[S, S]⁻¹``.
    """
    hessian = damped(hessian)
    target = weight.double() @ hessian[:, kept]
    return torch.linalg.solve(hessian[kept][:, kept], target.T).T.float()
