"""The first plans of a study: what the loss model needs before it can lead."""

from __future__ import annotations

import numpy as np

from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows


def initial_plans(space: ChoiceSpace, cost: Floats | None, scores: int = 1) -> Rows:
    """Reference, cheapest, uniform by kind, and one-at-a-time plans, in this order, [plans, groups].

    Uniform plans give each choice to all parameters of a kind, and the reference to all others.
    They tell what a choice costs at all, also where no plan within a budget would show it, and the
    shape that parameters of a kind share; so `scores` choices a parameter suffice. The first score
    of a parameter is its cheapest choice (without costs the one farthest from the reference).

    Args:
        space: the plans.
        cost: cost of each column, [columns], or None.
        scores: one-at-a-time plans a parameter; 0 for none.
    """
    reference = space.reference_row
    extreme = _extremes(space, cost)
    plans = [reference, extreme, *_uniform(space)]
    spread = [_by_distance(space, group, int(extreme[group])) for group in range(len(extreme))]
    for score in range(scores):
        for group, order in enumerate(spread):
            if score < len(order):
                plan = reference.copy()
                plan[group] = order[score]
                plans.append(plan)
    return _unique(np.array(plans))


def _extremes(space: ChoiceSpace, cost: Floats | None) -> Rows:
    """Each parameter's cheapest choice, or the farthest from the reference."""
    if cost is not None and np.ptp(cost) > 0:
        pairs = zip(space.offsets, space.sizes, strict=True)
        return np.array([int(np.argmin(cost[o : o + s])) for o, s in pairs], dtype=np.intp)
    last = space.sizes - 1
    return np.where(last - space.reference_row >= space.reference_row, last, 0)


def _uniform(space: ChoiceSpace) -> list[Rows]:
    """Plans that give one choice to all parameters of a kind, where there are several."""
    plans = []
    for kind in range(int(space.kinds.max()) + 1):
        groups = np.flatnonzero(space.kinds == kind)
        if len(groups) == 1:
            continue
        for choice in range(int(space.sizes[groups[0]])):
            plan = space.reference_row.copy()
            plan[groups] = choice
            plans.append(plan)
    return plans


def _by_distance(space: ChoiceSpace, group: int, first: int) -> list[int]:
    """Choices of a parameter other than the reference: `first`, then filling the widest gap."""
    reference = int(space.reference_row[group])
    taken, order = {reference}, []
    if first != reference:
        taken, order = {reference, first}, [first]
    while len(taken) < space.sizes[group]:
        free = [c for c in range(int(space.sizes[group])) if c not in taken]
        best = max(free, key=lambda c: min(abs(c - t) for t in taken))
        taken.add(best)
        order.append(best)
    return order


def _unique(rows: Rows) -> Rows:
    _, first = np.unique(rows, axis=0, return_index=True)
    return rows[np.sort(first)]
