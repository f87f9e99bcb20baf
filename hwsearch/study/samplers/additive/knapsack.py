"""Exact solution of the additive problem for every budget at once: a multiple-choice knapsack."""

from __future__ import annotations

import numpy as np

from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows

GRID = 4096


def solve_front(
    space: ChoiceSpace, loss: Floats, cost: Floats, budget: float | None = None, grid: int = GRID
) -> Rows:
    """The plans with the least additive loss for every budget up to `budget`.

    Dynamic programming over parameters and a grid of `grid` costs. Costs round up to the grid,
    so the true cost of a plan never exceeds the budget it is the answer to.

    Args:
        space: the plans.
        loss: loss of each one-hot column, [columns]; infinity forbids it.
        cost: cost of each one-hot column, [columns].
        budget: largest cost; None admits every plan.
        grid: number of grid steps between the least and the largest cost.

    Returns:
        Plans, least cost first, [front, groups]; empty if none fits the budget.
    """
    units, top = _integer_costs(space, cost, budget, grid)
    if top < 0:
        return np.empty((0, len(space.names)), dtype=np.intp)
    best = np.zeros(top + 1)
    picks = np.zeros((len(space.names), top + 1), dtype=np.intp)
    for group, (start, size) in enumerate(zip(space.offsets, space.sizes, strict=True)):
        best, picks[group] = _add_group(
            best, loss[start : start + size], units[start : start + size]
        )
    with np.errstate(invalid="ignore"):  # of two infinities neither is better
        falls = np.diff(best, prepend=np.inf) < 0
    improves = np.flatnonzero(np.isfinite(best) & falls)
    return _backtrack(space, picks, units, improves)


def _integer_costs(
    space: ChoiceSpace, cost: Floats, budget: float | None, grid: int
) -> tuple[Rows, int]:
    """Grid units of each column above its group's least, and the units a plan may use.

    The second is negative if even the cheapest plan is over the budget.
    """
    least = np.minimum.reduceat(cost, space.offsets)
    above = cost - least[space.group_of]
    most = float(np.maximum.reduceat(above, space.offsets).sum())
    room = most if budget is None else min(budget - float(least.sum()), most)
    slack = 1e-9 * max(1.0, float(np.abs(least).sum()))
    if room < -slack:
        return np.zeros_like(space.group_of), -1
    step = max(room, slack) / grid
    units = np.ceil(above / step - 1e-9).astype(np.intp)
    dearest = int(np.maximum.reduceat(units, space.offsets).sum())
    return units, dearest if room >= most else grid


def _add_group(best: Floats, loss: Floats, units: Rows) -> tuple[Floats, Rows]:
    """One stage: the best loss within each number of units, and the choice that gives it."""
    table = np.full((len(loss), len(best)), np.inf)
    for choice, (value, used) in enumerate(zip(loss, units, strict=True)):
        if used < len(best):
            table[choice, used:] = best[: len(best) - used] + value
    pick = table.argmin(axis=0)
    return np.take_along_axis(table, pick[None], axis=0)[0], pick


def _backtrack(space: ChoiceSpace, picks: Rows, units: Rows, ends: Rows) -> Rows:
    rows = np.empty((len(ends), len(space.names)), dtype=np.intp)
    left = ends.copy()
    for group in range(len(space.names) - 1, -1, -1):
        rows[:, group] = picks[group, left]
        left = left - units[space.offsets[group] + rows[:, group]]
    return rows
