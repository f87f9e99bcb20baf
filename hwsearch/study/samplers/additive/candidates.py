"""The next plan: candidates from the model's fronts and their neighbours, the most valuable first."""

from __future__ import annotations

from collections.abc import Iterator, Set

import numpy as np

from hwsearch.study.samplers.additive.acquisition import Acquisition
from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows
from hwsearch.study.samplers.additive.knapsack import solve_front
from hwsearch.study.samplers.additive.loss_model.surrogate import Surrogate

ENUMERATE = 8192  # spaces up to this size are scored whole
POOL = 384  # candidates scored in a larger space
FRONT = 48  # plans taken from each solved front
CLIMBS = (2, 6)  # least and most rounds of single swaps around the best candidates
SWAPS = 800  # swaps of a plan in all rounds together, where that is between these
GRID = 1024


def ranked(
    space: ChoiceSpace,
    loss: Surrogate,
    acquisition: Acquisition,
    incumbents: Rows,
    rng: np.random.Generator,
) -> Iterator[Rows]:
    """Plans in descending value: the best of each climb, then the pool they grew from.

    After those that are expected to gain anything come the others, the least certain first.

    Args:
        space: the plans.
        loss: the loss model.
        acquisition: what a plan is worth.
        incumbents: the best plans measured, [m, groups].
        rng: source of mutations and draws.
    """
    rows = (
        space.enumerate()
        if space.plans <= ENUMERATE
        else _pool(space, loss, acquisition, incumbents, rng)
    )
    values = acquisition.value(loss, rows)
    if space.plans > ENUMERATE:
        for _ in range(int(np.clip(SWAPS // space.columns, *CLIMBS))):
            best = rows[np.argsort(-values, kind="stable")[:2]]
            for near, worth in [acquisition.value_of_swaps(loss, plan) for plan in best]:
                rows, values = np.concatenate([rows, near]), np.concatenate([values, worth])
    order = np.lexsort((rng.random(len(rows)), -values))
    promising = int((values > 0.0).sum())
    yield from rows[order[:promising]]
    # all that promises anything was tried: learn where the model may be wrong, within the limits
    rest = rows[order[promising:]]
    yield from rest[np.argsort(-acquisition.doubt(loss, rest), kind="stable")]


def first_unseen(plans: Iterator[Rows], seen: Set[tuple[int, ...]], skip: int) -> Rows | None:
    """The first plan not in `seen` after `skip` others, which earlier workers will have taken."""
    last, taken = None, set(seen)
    for plan in plans:
        key = tuple(int(i) for i in plan)
        if key in taken:
            continue
        if skip == 0:
            return plan
        taken.add(key)
        last, skip = plan, skip - 1
    return last


def random_plans(space: ChoiceSpace, count: int, rng: np.random.Generator) -> Iterator[Rows]:
    """Plans drawn uniformly."""
    for _ in range(count):
        yield rng.integers(space.sizes)


def unseen_any(
    space: ChoiceSpace, seen: Set[tuple[int, ...]], rng: np.random.Generator
) -> Rows | None:
    """Some plan not in `seen`; None once every plan is."""
    if len(seen) >= space.plans:
        return None
    if space.plans <= ENUMERATE:
        return first_unseen(iter(rng.permutation(space.enumerate())), seen, 0)
    return first_unseen(random_plans(space, 1000, rng), seen, 0)


def _pool(
    space: ChoiceSpace,
    loss: Surrogate,
    acquisition: Acquisition,
    incumbents: Rows,
    rng: np.random.Generator,
) -> Rows:
    """Fronts of the mean and of a draw, incumbents, and mutations of them all."""
    anchor = incumbents[rng.integers(len(incumbents))]
    fronts = []
    for plan in (space.reference_row, anchor):
        effects, spread = loss.posterior.swaps_at(plan)
        fronts.append(_front(space, effects, acquisition, plan))
        drawn = effects + spread * rng.normal(size=len(spread))
        fronts.append(_front(space, drawn, acquisition, plan))
        fronts.extend(_limited(space, effects, acquisition, plan))
    parents = np.concatenate([*fronts, incumbents])
    children = parents[rng.integers(len(parents), size=max(POOL - len(parents), POOL // 2))]
    return np.unique(np.concatenate([parents, _mutated(space, children, rng)]), axis=0)


def _front(space: ChoiceSpace, effects: Floats, acquisition: Acquisition, plan: Rows) -> Rows:
    """Up to `FRONT` plans of the exact front of effects that are additive around `plan`.

    Evenly over its costs, or those nearest to the budget; more of those where the cost itself is
    additive around `plan` alone, since some will turn out to be over it.
    """
    cost = acquisition.cost.at(plan)
    budget = None if acquisition.budget is None else acquisition.budget - cost.constant
    plans = solve_front(space, effects, cost.columns, budget, GRID)
    if acquisition.staircase is None:
        return plans[-8:] if cost is acquisition.cost else plans[-FRONT:]
    if len(plans) <= FRONT:
        return plans
    spaced: Rows = plans[np.linspace(0, len(plans) - 1, FRONT).astype(int)]
    return spaced


def _limited(
    space: ChoiceSpace, effects: Floats, acquisition: Acquisition, plan: Rows
) -> Iterator[Rows]:
    """Fronts that pay for each further constraint, at three prices."""
    for limit in acquisition.limits:
        toll, _ = limit.posterior.swaps_at(plan)
        price = np.ptp(effects) / max(float(np.ptp(toll)), 1e-12)
        for factor in (0.3, 1.0, 3.0):
            yield _front(space, effects + factor * price * toll, acquisition, plan)


def _mutated(space: ChoiceSpace, rows: Rows, rng: np.random.Generator) -> Rows:
    """Copies with one to three parameters redrawn."""
    rows = rows.copy()
    for _ in range(3):
        group = rng.integers(len(space.names), size=len(rows))
        active = rng.random(len(rows)) < 0.6
        choice = rng.integers(space.sizes[group])
        rows[active, group[active]] = choice[active]
    return rows
