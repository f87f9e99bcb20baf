"""How much work estimates are, told from numbers alone."""

from __future__ import annotations

import math

#: Random directions a state, at least and at most; more than the least where that makes fewer than so
#: many over all sequences. The standard deviation of an estimate falls with the root of their number.
DRAWS, MOST_DRAWS, DIRECTIONS = 2, 8, 192


def passes_needed(cost: float, formats: int, thresholds: int, large: bool) -> float:
    """Work of `measure_sensitivities` where one sweep does, in full passes over one sequence.

    Args:
        cost: that of the loss.
        formats: how many are estimated.
        thresholds: how many are estimated.
        large: whether the weights stay in their files.
    """
    return passes_made(cost, 1, draws_of(cost), formats, thresholds, large)


def draws_of(cost: float) -> int:
    """Random directions a state, for a loss of some cost."""
    return max(DRAWS, min(MOST_DRAWS, math.ceil(DIRECTIONS / cost)))


def passes_made(
    cost: float, sweeps: int, draws: int, formats: int, dropping: int, large: bool
) -> float:
    """Work of estimates in full passes over one sequence; `sweeps` and `dropping` are runs of the loss."""
    # a backward pass is worth two; each linear runs once a format, and once as it is or, where
    # formats are in turn, once more for each
    plain = formats if large else 1
    return cost * (sweeps * (1 + 2 * draws) + dropping + plain + formats)
