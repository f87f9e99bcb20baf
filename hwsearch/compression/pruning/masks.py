"""From scores of weights to which of them stay."""

from __future__ import annotations

import torch
from torch import Tensor

from hwsearch.errors import PlanError
from hwsearch.plan import kept_of


def kept_mask(score: Tensor, sparsity: float | str) -> Tensor:
    """Which weights stay, ``[out, in]``: by a share of each row, or by a pattern ``"N:M"``.

    Raises:
        PlanError: the inputs are no multiple of the pattern's M.
    """
    if isinstance(sparsity, str):
        return n_of_m(score, *kept_of(sparsity))
    return ~lowest_share(score, sparsity)


def lowest_share(score: Tensor, share: float) -> Tensor:
    """Whether a weight is among its output's lowest `share` of scores ``[out, in]``; ties: the first."""
    count = int(share * score.shape[1])
    lowest = score.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(score, dtype=torch.bool).scatter_(1, lowest, True)


def n_of_m(score: Tensor, kept: int, group: int) -> Tensor:
    """Whether a weight is among the best `kept` of each `group` neighbouring inputs.

    Raises:
        PlanError: the inputs are no multiple of `group`.
    """
    if score.shape[1] % group:
        raise PlanError(
            f"sparsity {kept}:{group} needs inputs in multiples of {group}, and a linear has "
            f"{score.shape[1]}; choose another pattern, or a share"
        )
    grouped = score.unflatten(1, (-1, group))
    best = grouped.argsort(dim=2, descending=True, stable=True)[..., :kept]
    return torch.zeros_like(grouped, dtype=torch.bool).scatter_(2, best, True).flatten(1)


def zeroed_share(weight: Tensor) -> float:
    """Share of the weights that are zero."""
    return float((weight == 0).float().mean())
