"""The first plans of a study: what the loss model needs before it can lead."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsearch.study.samplers.additive.acquisition import CostModel
from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows
from hwsearch.study.samplers.additive.hypervolume import Staircase
from hwsearch.study.samplers.additive.knapsack import solve_front
from hwsearch.study.samplers.additive.loss_model.prior_mean import PriorMean

#: Plans that are tried because they are best by what was expected, of a front and within a budget.
EXPECTED_FRONT, EXPECTED_BEST = 6, 3


@dataclass(frozen=True)
class Design:
    """Plans to begin with.

    Attributes:
        plans: in their order, [plans, groups].
        together: how many of them come first of all; those after change one parameter each.
        wanted: how many of those are tried whatever was; the others show what choices cost at all, and
            need not where a trial has shown it.
    """

    plans: Rows
    together: int
    wanted: int = 0

    @classmethod
    def plain(cls, space: ChoiceSpace, cost: Floats | None, scores: int) -> Design:
        """Where nothing is expected; see `initial_plans`."""
        return cls(initial_plans(space, cost, scores), len(initial_plans(space, cost, 0)))

    @classmethod
    def expecting(
        cls, space: ChoiceSpace, cost: CostModel, budget: float | None, prior: PriorMean
    ) -> Design:
        """Where losses are expected: the plans that are best by these, then what shows the rest.

        Plans of one change each are left out, of parameters that nothing is expected of as well: a model
        that knows what the others cost learns these from its own proposals.

        Args:
            space: the plans.
            cost: what they cost.
            budget: largest cost of one objective; None for a front of two.
            prior: what is expected.
        """
        best = expected_plans(space, cost, budget, prior)
        wanted = _unique(np.concatenate([space.reference_row[None], best]))
        rest = initial_plans(space, cost.columns, 0, ~prior.known)
        plans = _unique(np.concatenate([wanted, rest]))
        return cls(plans, len(plans), len(wanted))


def expected_plans(
    space: ChoiceSpace, cost: CostModel, budget: float | None, prior: PriorMean
) -> Rows:
    """The plans that are best by what is expected, [plans, groups].

    They are exact answers of a knapsack over the expected losses (where costs are not additive, of
    costs made so around the reference plan). Parameters that nothing is expected of stay at their
    references, but for one whose costs are expected only: how text is decoded changes what all other
    choices are worth, so each of its choices has its best plan.
    """
    bases = _bases(space, cost, prior)
    most = EXPECTED_FRONT if budget is None else EXPECTED_BEST
    each = max(1, most // len(bases))
    return np.concatenate([_best(space, cost, budget, prior, base)[:each] for base in bases])


def _bases(space: ChoiceSpace, cost: CostModel, prior: PriorMean) -> list[Rows]:
    """The reference plan, and those that differ from it by the parameter whose costs are expected."""
    reference, place = space.reference_row, cost.expected
    if place is None or prior.known[place]:
        return [reference]
    choices = sorted(range(int(space.sizes[place])), key=lambda c: abs(c - reference[place]))
    bases = np.repeat(reference[None], len(choices), axis=0)
    bases[:, place] = choices
    return list(bases)


def _best(
    space: ChoiceSpace, cost: CostModel, budget: float | None, prior: PriorMean, base: Rows
) -> Rows:
    """Plans that differ from `base` by expected choices alone, best first; none if none is in budget."""
    near = cost.at(base)
    kept = space.choice_of == base[space.group_of]
    losses = np.where(prior.known[space.group_of] | kept, prior.losses, np.inf)
    room = None if budget is None else budget - near.constant
    front = solve_front(space, losses, near.columns, room)
    if budget is not None:
        return front[cost.within(front, budget) > 0.0][::-1]
    return _widest(front, cost.of(front), space.total(front, losses))


def _widest(front: Rows, costs: Floats, losses: Floats) -> Rows:
    """The plans of a front that together leave the least of the area under it uncovered, best first."""
    chosen: list[int] = []
    end, worst = float(costs.max()), float(losses.max())
    for _ in range(min(EXPECTED_FRONT, len(front))):
        known = Staircase.of(costs[chosen], losses[chosen], float(costs.min()), end, worst)
        chosen.append(int(known.gain(costs[:, None], losses[:, None])[:, 0].argmax()))
    return front[list(dict.fromkeys(chosen))]


def initial_plans(
    space: ChoiceSpace,
    cost: Floats | None,
    scores: int = 1,
    groups: NDArray[np.bool_] | None = None,
) -> Rows:
    """Reference, cheapest, uniform by kind, and one-at-a-time plans, in this order, [plans, groups].

    Uniform plans give each choice to all parameters of a kind, and the reference to all others.
    They tell what a choice costs at all, also where no plan within a budget would show it, and the
    shape that parameters of a kind share; so `scores` choices a parameter suffice. The first score
    of a parameter is its cheapest choice (without costs the one farthest from the reference).

    Args:
        space: the plans.
        cost: cost of each column, [columns], or None.
        scores: one-at-a-time plans a parameter; 0 for none.
        groups: parameters that are varied, [groups]; None varies all.
    """
    reference = space.reference_row
    varied = np.ones(len(reference), dtype=bool) if groups is None else groups
    extreme = np.where(varied, _extremes(space, cost), reference)
    plans = [reference, extreme, *_uniform(space, varied)]
    spread = {
        group: _by_distance(space, group, int(extreme[group]))
        for group in np.flatnonzero(varied).tolist()
    }
    for score in range(scores):
        for group, order in spread.items():
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


def _uniform(space: ChoiceSpace, varied: NDArray[np.bool_]) -> list[Rows]:
    """Plans that give one choice to all parameters of a kind, where there are several."""
    plans = []
    for kind in range(int(space.kinds.max()) + 1):
        groups = np.flatnonzero((space.kinds == kind) & varied)
        if len(groups) <= 1:
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
