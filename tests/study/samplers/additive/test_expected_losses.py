"""Losses that are expected before any trial: where a study begins, and what it makes of them."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import optuna
import pytest
from optuna.distributions import CategoricalDistribution, IntDistribution

from hwsearch.errors import InputError
from hwsearch.study.samplers.additive import AdditiveSampler
from hwsearch.study.samplers.additive.acquisition import CostModel
from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.study.samplers.additive.encoding import ChoiceSpace
from hwsearch.study.samplers.additive.first_plans import Design, expected_plans
from hwsearch.study.samplers.additive.loss_model.hyperparameters import tune
from hwsearch.study.samplers.additive.loss_model.prior_mean import PriorMean
from hwsearch.study.samplers.additive.loss_model.warp import Warp
from tests.study.samplers.additive.test_expected_costs import DISTRIBUTIONS, JOINT

GROUPS, OPTIONS, BUDGET = 5, 3, 5.0
RNG = np.random.default_rng(3)
LOSS = RNG.lognormal(sigma=1.5, size=GROUPS)[:, None] * np.array([0.0, 0.1, 1.0])
COST = RNG.uniform(1, 2, GROUPS)[:, None] * np.array([1.0, 0.6, 0.4])
NAMES = [f"g{g}" for g in range(GROUPS)]
COSTS = {name: dict(enumerate(map(float, COST[g]))) for g, name in enumerate(NAMES)}
EXACT = {name: dict(enumerate(map(float, LOSS[g]))) for g, name in enumerate(NAMES)}
SPACE = {name: IntDistribution(0, OPTIONS - 1) for name in NAMES}
PLANS = list(itertools.product(range(OPTIONS), repeat=GROUPS))


def loss_of(plan: Sequence[int]) -> float:
    return float(LOSS[range(GROUPS), plan].sum())


def cost_of(plan: Sequence[int]) -> float:
    return float(COST[range(GROUPS), plan].sum())


def scaled(factor: float) -> dict[str, dict[int, float]]:
    return {n: {c: factor * v for c, v in losses.items()} for n, losses in EXACT.items()}


BEST = min((p for p in PLANS if cost_of(p) <= BUDGET), key=loss_of)


def run(trials: int, prior=None, seed: int = 0) -> list[tuple[int, ...]]:
    """Plans of a search within the budget."""
    sampler = AdditiveSampler(COSTS, BUDGET, "ms", seed, search_space=SPACE, prior=prior)
    study = optuna.create_study(sampler=sampler)

    def objective(trial: optuna.Trial) -> float:
        plan = tuple(trial.suggest_int(name, 0, OPTIONS - 1) for name in NAMES)
        trial.set_constraint("ms", cost_of(plan) - BUDGET)
        return loss_of(plan)

    study.optimize(objective, n_trials=trials)
    return [tuple(trial.params[name] for name in NAMES) for trial in study.trials]


def test_the_first_plans_are_the_best_ones_by_what_is_expected() -> None:
    assert cost_of((0,) * GROUPS) > BUDGET
    assert run(2, EXACT) == [(0,) * GROUPS, BEST]
    assert run(2) != [(0,) * GROUPS, BEST], "without a prior nobody can know"
    # a plan expected to be best is tried, whatever factor all expectations are off by
    assert run(2, scaled(40.0))[1] == BEST


def test_of_a_front_the_first_plans_lie_on_it() -> None:
    sampler = AdditiveSampler(COSTS, search_space=SPACE, prior=EXACT, seed=0)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        plan = tuple(trial.suggest_int(name, 0, OPTIONS - 1) for name in NAMES)
        return loss_of(plan), cost_of(plan)

    study.optimize(objective, n_trials=7)
    plans = [tuple(trial.params[name] for name in NAMES) for trial in study.trials]
    front = {p for p in PLANS if not any(
        loss_of(q) <= loss_of(p) and cost_of(q) <= cost_of(p) and q != p for q in PLANS
    )}  # fmt: skip
    assert set(plans) <= front and len(set(plans)) == 7


@pytest.mark.parametrize("factor", [0.3, 3.0])
def test_the_factor_of_what_is_expected_is_learned(factor: float) -> None:
    space = ChoiceSpace.of(SPACE, {}, 32)
    prior = PriorMean.of(space, scaled(1 / factor))
    rows = np.array([p for i, p in enumerate(PLANS) if i % 12 == 0])
    losses = np.array([loss_of(p) for p in rows])
    tuned = tune(space, rows, losses, np.zeros(len(rows)), prior)
    nearest = {0.3: (0.25,), 3.0: (2.0, 4.0)}[factor]
    assert tuned.trust in nearest
    mean = prior.effects(Warp.over(losses, 0.0), 1.0)
    assert mean == pytest.approx(LOSS.ravel() / factor / np.ptp(losses))


def test_expectations_that_mislead_cost_trials_and_not_the_answer() -> None:
    swapped = dict(zip(NAMES, reversed(EXACT.values()), strict=True))
    assert BEST not in run(3, swapped)
    for seed in range(3):
        assert BEST in run(40, swapped, seed)


def test_parameters_that_nothing_is_expected_of_stay_and_are_shown_by_plans_of_their_own() -> None:
    space = ChoiceSpace.of(SPACE, {}, 32)
    known = {name: EXACT[name] for name in NAMES[:3]}
    cost, prior = CostModel.known(space, AdditiveCost.of(COSTS)), PriorMean.of(space, known)
    assert prior.known.tolist() == [True] * 3 + [False] * 2
    for budget in (None, 6.0):
        best = expected_plans(space, cost, budget, prior)
        assert len(best) and (best[:, 3:] == 0).all() and (best[:, :3] > 0).any()
    design = Design.expecting(space, cost, None, prior)
    rest = design.plans[design.wanted :].tolist()
    assert [0, 0, 0, 1, 1] in rest and all(plan[:3] == [0, 0, 0] for plan in rest)
    assert PriorMean.of(space, {}) is None
    assert BEST in run(40, known)


def test_each_decoding_has_its_best_plan_and_the_nearest_come_first() -> None:
    space = ChoiceSpace.of(DISTRIBUTIONS, {"decoding": 1}, 32)
    cost = CostModel.known(space, AdditiveCost.of_tables(JOINT, "decoding"))
    prior = PriorMean.of(space, {"layer": {0: 0.0, 1: 0.5}})
    # makers' decoding cannot be within 60 ms; the second can only with the cheaper layer
    assert expected_plans(space, cost, -55.0, prior).tolist() == [[1, 1], [2, 0]]


def test_losses_are_told_by_choice_or_by_place() -> None:
    space = ChoiceSpace.of(
        {"a": CategoricalDistribution(["fp32", "w8", "w4"]), "b": IntDistribution(4, 8, step=4)},
        {"a": "w8"},
        32,
    )
    by_choice = PriorMean.of(
        space, {"a": {"fp32": 0.0, "w8": 1.0, "w4": 3.0}, "b": {8: 2.0, 4: 0.0}}
    )
    by_place = PriorMean.of(space, {"a": {0: 0.0, 1: 1.0, 2: 3.0}, "b": {1: 2.0, 0: 0.0}})
    assert by_choice.losses.tolist() == by_place.losses.tolist() == [-1.0, 0.0, 2.0, 0.0, 2.0]


@pytest.mark.parametrize(
    ("prior", "said"),
    [
        ({"g0": {0: 0.0, 1: 1.0}}, "g0 must give a loss for each of 0, 1, 2.*got 0, 1$"),
        ({"g0": {0: 0.0, 1: 1.0, 2: 1.0, 3: 1.0}}, "got 0, 1, 2, 3"),
        ({"g1": {0: 0.0, 1: float("nan"), 2: 1.0}}, "g1 must be finite"),
    ],
)
def test_expectations_that_cannot_be_are_said_at_once(prior, said) -> None:
    with pytest.raises(InputError, match=said):
        AdditiveSampler(COSTS, BUDGET, search_space=SPACE, prior=prior)
