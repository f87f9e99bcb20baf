"""The first plans, and what they are worth where the budget hides half of the choices."""

import numpy as np
import optuna
import pytest
from optuna.distributions import IntDistribution

from hwsearch.study.samplers.additive import AdditiveSampler
from hwsearch.study.samplers.additive.encoding import ChoiceSpace
from hwsearch.study.samplers.additive.first_plans import initial_plans
from hwsearch.study.samplers.additive.knapsack import solve_front

LAYERS = 6
PARTS = ("threshold", "attention", "mlp")
SPACE = {f"layer{i}.{part}": IntDistribution(0, 3) for i in range(LAYERS) for part in PARTS}
KINDS = {name: name.split(".")[1] for name in SPACE}
#: Milliseconds that choices save, and the loss that they cost a typical layer: choice 1 saves most
#: and costs something, choice 2 saves half of that and costs next to nothing, choice 3 saves as much
#: as 2 and costs most.
SAVED = {"threshold": (0, 0.1, 0.2, 0.3), "attention": (0, 3, 2, 2), "mlp": (0, 6, 4, 4)}
COSTS = {
    "threshold": (0, 0.1, 0.5, 2),
    "attention": (0, 0.05, 0.003, 0.3),
    "mlp": (0, 0.1, 0.004, 0.4),
}


def test_each_choice_is_given_to_all_parameters_of_a_kind() -> None:
    sizes = {"a0": 3, "a1": 3, "b0": 2, "b1": 2, "head": 3}
    space = ChoiceSpace.of(
        {name: IntDistribution(0, size - 1) for name, size in sizes.items()},
        {},
        32,
        {name: name[0] for name in sizes},
    )
    cost = np.concatenate([-np.arange(size, dtype=float) for size in sizes.values()])
    plans = initial_plans(space, cost, scores=1).tolist()
    assert plans[:2] == [[0, 0, 0, 0, 0], [2, 2, 1, 1, 2]], "reference and cheapest"
    assert plans[2:5] == [[1, 1, 0, 0, 0], [2, 2, 0, 0, 0], [0, 0, 1, 1, 0]]
    alone = [[2, 0, 0, 0, 0], [0, 2, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0], [0, 0, 0, 0, 2]]
    assert plans[5:] == alone


def test_what_a_plan_told_already_is_not_asked_again() -> None:
    sizes = {"a0": 4, "a1": 4, "b0": 2, "b1": 2}
    space = {name: IntDistribution(0, size - 1) for name, size in sizes.items()}
    cost = {name: {c: -float(c) for c in range(size)} for name, size in sizes.items()}
    kinds = {name: name[0] for name in sizes}
    sampler = AdditiveSampler(cost, seed=0, search_space=space, kinds=kinds)
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    study.enqueue_trial({"a0": 1, "a1": 1, "b0": 1, "b1": 1})

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        choices = [trial.suggest_int(name, 0, size - 1) for name, size in sizes.items()]
        return float(sum(choices)), -float(sum(choices))

    study.optimize(objective, n_trials=5)
    plans = [list(trial.params.values()) for trial in study.trials]
    # reference and cheapest come first; of a, choice 2 is left, and then parameters alone
    assert plans[1:] == [[0, 0, 0, 0], [3, 3, 1, 1], [2, 2, 0, 0], [3, 0, 0, 0]]


@pytest.mark.parametrize("seed", range(3))
def test_a_choice_that_no_uniform_plan_within_the_budget_shows_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    names = list(SPACE)
    cost = {n: {c: -SAVED[KINDS[n]][c] for c in range(4)} for n in names}
    loss = {n: np.array(COSTS[KINDS[n]]) * rng.lognormal(0.0, 1.0) for n in names}
    budget = -0.8 * 9 * LAYERS  # uniform plans of choice 1 alone save so much

    def objective(trial: optuna.Trial) -> float:
        plan = {name: trial.suggest_int(name, 0, 3) for name in names}
        trial.set_constraint("ms", sum(cost[n][c] for n, c in plan.items()) - budget)
        return float(sum(loss[n][c] for n, c in plan.items()))

    space = ChoiceSpace.of(SPACE, {}, 32, KINDS)
    columns = np.concatenate([list(cost[n].values()) for n in names])
    effects = np.concatenate([loss[n] for n in names])
    least = space.total(solve_front(space, effects, columns, budget), effects).min()
    sampler = AdditiveSampler(cost, budget, "ms", seed, search_space=SPACE, kinds=KINDS)
    study = optuna.create_study(sampler=sampler)
    study.enqueue_trial({name: 0 if "threshold" in name else 1 for name in names})
    study.optimize(objective, n_trials=40)
    assert study.best_value <= 1.05 * least
