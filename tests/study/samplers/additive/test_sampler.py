"""What the sampler promises beyond optuna's own suite."""

from __future__ import annotations

import itertools
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState
from threadpoolctl import threadpool_info, threadpool_limits

from hwsearch.errors import InputError
from hwsearch.study.records.trial_record import ESTIMATE, SPREAD
from hwsearch.study.samplers.additive import AdditiveCost, AdditiveSampler
from hwsearch.study.samplers.additive.encoding import ChoiceSpace
from hwsearch.study.samplers.additive.loss_model.hyperparameters import tune
from hwsearch.study.samplers.additive.loss_model.surrogate import fit_loss
from hwsearch.study.samplers.additive.proposer import Advisor
from hwsearch.study.samplers.additive.trial_arrays import Ledger

GROUPS, OPTIONS = 4, 3
RNG = np.random.default_rng(7)
SIZE = RNG.lognormal(size=GROUPS)
LOSS = SIZE[:, None] * np.array([0.0, 0.1, 1.0])
COST = RNG.uniform(1, 2, GROUPS)[:, None] * np.array([1.0, 0.6, 0.4])
TABLE = {f"g{g}": dict(enumerate(map(float, COST[g]))) for g in range(GROUPS)}
PLANS = list(itertools.product(range(OPTIONS), repeat=GROUPS))
BUDGET = 4.0


def plan_of(trial: optuna.Trial) -> tuple[int, ...]:
    return tuple(trial.suggest_int(f"g{g}", 0, OPTIONS - 1) for g in range(GROUPS))


def loss_of(plan: Sequence[int]) -> float:
    return float(LOSS[range(GROUPS), plan].sum() + 0.2 * LOSS[0, plan[0]] * LOSS[1, plan[1]])


def cost_of(plan: Sequence[int]) -> float:
    return float(COST[range(GROUPS), plan].sum())


def two(trial: optuna.Trial) -> tuple[float, float]:
    plan = plan_of(trial)
    return loss_of(plan), cost_of(plan)


def one(trial: optuna.Trial) -> float:
    plan = plan_of(trial)
    trial.set_constraint("ms", cost_of(plan) - BUDGET)
    return loss_of(plan)


def study_with(sampler: AdditiveSampler, objectives: int = 2) -> optuna.Study:
    return optuna.create_study(directions=["minimize"] * objectives, sampler=sampler)


def plans_in(study: optuna.Study) -> list[tuple[int, ...]]:
    return [tuple(t.params[f"g{g}"] for g in range(GROUPS)) for t in study.trials]


@pytest.mark.parametrize("cost", [TABLE, None])
def test_finds_the_whole_front(cost: dict[str, dict[int, float]] | None) -> None:
    study = study_with(AdditiveSampler(cost, seed=0))
    study.optimize(two, n_trials=60)
    points = sorted((cost_of(p), loss_of(p)) for p in PLANS)
    lowest, front = np.inf, set()
    for ms, loss in points:
        if loss < lowest - 1e-12:
            lowest = loss
            front.add((round(loss, 9), round(ms, 9)))
    found = {(round(a, 9), round(b, 9)) for a, b in (t.values for t in study.best_trials)}
    assert len(front) > 5 and found == front


@pytest.mark.parametrize(
    "arguments",
    [
        {"cost": TABLE, "budget": BUDGET, "constraint_name": "ms"},
        {"constraint_name": "ms"},
        {"cost": TABLE, "budget": BUDGET},
    ],
)
def test_best_plan_under_a_budget(arguments: dict[str, object]) -> None:
    study = study_with(AdditiveSampler(seed=0, **arguments), 1)
    study.optimize(one, n_trials=30)
    wanted = min(loss_of(p) for p in PLANS if cost_of(p) <= BUDGET)
    assert study.best_value == pytest.approx(wanted)


def test_third_quantity_as_a_constraint() -> None:
    def objective(trial: optuna.Trial) -> tuple[float, float]:
        values = two(trial)
        trial.set_constraint("bytes", float(sum(2 - trial.params[f"g{g}"] for g in range(4))) - 4)
        return values

    study = study_with(AdditiveSampler(TABLE, seed=0))
    study.optimize(objective, n_trials=45)
    wanted = min(loss_of(p) for p in PLANS if sum(2 - i for i in p) <= 4)
    assert min(t.values[0] for t in study.best_trials) == pytest.approx(wanted)


def test_no_plan_twice_until_all_are_done() -> None:
    study = study_with(AdditiveSampler(TABLE, seed=1))
    study.optimize(two, n_trials=len(PLANS))
    assert set(plans_in(study)) == set(PLANS)
    study.optimize(two, n_trials=2)


def test_equal_seeds_give_equal_plans_and_a_fresh_process_goes_on_alike(tmp_path: Path) -> None:
    whole = study_with(AdditiveSampler(TABLE, seed=3))
    whole.optimize(two, n_trials=24)
    url = f"sqlite:///{tmp_path}/s.db"
    for count in (9, 15):
        sampler = AdditiveSampler(TABLE, seed=3)
        part = optuna.create_study(
            study_name="s",
            storage=url,
            directions=["minimize"] * 2,
            sampler=sampler,
            load_if_exists=True,
        )
        part.optimize(two, n_trials=count)
    assert plans_in(part) == plans_in(whole)


def test_running_trials_are_not_repeated() -> None:
    space = {f"g{g}": optuna.distributions.IntDistribution(0, 2) for g in range(GROUPS)}
    study = study_with(AdditiveSampler(TABLE, seed=0, search_space=space))
    study.optimize(two, n_trials=12)
    asked = [study.ask(space) for _ in range(8)]
    running = [tuple(t.params.values()) for t in asked]
    assert len(set(running) | set(plans_in(study)[:12])) == 20


def test_failed_pruned_infinite_and_enqueued_trials_survive() -> None:
    def objective(trial: optuna.Trial) -> float:
        plan = plan_of(trial)
        if trial.number % 5 == 1:
            raise RuntimeError
        if trial.number % 5 == 2:
            raise optuna.TrialPruned
        return float("inf") if trial.number % 5 == 3 else loss_of(plan)

    study = study_with(AdditiveSampler(seed=0), 1)
    study.enqueue_trial({"g0": 2, "g3": 1})
    study.optimize(objective, n_trials=30, catch=(RuntimeError,))
    assert study.trials[0].params["g0"] == 2
    states = {t.state for t in study.trials}
    assert states == {TrialState.COMPLETE, TrialState.FAIL, TrialState.PRUNED}


def stopped(plan: Sequence[int], loss: float, spread: float) -> optuna.trial.FrozenTrial:
    space = {f"g{g}": optuna.distributions.IntDistribution(0, OPTIONS - 1) for g in range(GROUPS)}
    return optuna.create_trial(
        state=TrialState.PRUNED,
        params=dict(zip(space, plan, strict=True)),
        distributions=space,
        user_attrs={ESTIMATE: [loss], SPREAD: spread},
        constraints={"ms": cost_of(plan) - BUDGET},
    )


def believed(spread: float) -> float:
    """What the model expects of a plan that a stopped trial says is ten times worse than it is."""
    study = study_with(AdditiveSampler(TABLE, seed=0), 1)
    study.optimize(one, n_trials=25)
    plan = next(p for p in PLANS if p not in plans_in(study))
    study.add_trial(stopped(plan, 10 * loss_of(plan), spread))
    space = ChoiceSpace.of(study.trials[0].distributions, {}, OPTIONS)
    evidence = Ledger(space, study.directions).read(study.trials, -1)
    losses = evidence.values[:, 0]
    model = fit_loss(
        space,
        tune(space, evidence.rows, losses, evidence.spread),
        evidence.rows,
        losses,
        chosen=np.arange(len(losses)),
        gram=evidence.gram,
        spread=evidence.spread,
    )
    return float(model.mean(np.array([plan]))[0]) / loss_of(plan)


def test_an_estimate_counts_for_as_much_as_its_spread_says() -> None:
    sure, unsure = believed(1e-6), believed(100.0)
    assert unsure == pytest.approx(1.0, abs=0.2)
    assert sure > 2.0


def test_an_estimate_is_nothing_to_improve_on() -> None:
    study = study_with(AdditiveSampler(TABLE, BUDGET, "ms", seed=0), 1)
    lies = [p for p in PLANS if cost_of(p) <= BUDGET][::7]
    study.add_trials([stopped(plan, -5.0, 1.0) for plan in lies])
    study.optimize(one, n_trials=30)
    feasible = [p for p in PLANS if cost_of(p) <= BUDGET and p not in lies]
    assert study.best_value == pytest.approx(min(map(loss_of, feasible)))
    assert not set(lies) & set(plans_in(study)[len(lies) :]), "stopped plans are not tried again"


def test_other_parameters_go_to_the_independent_sampler() -> None:
    def objective(trial: optuna.Trial) -> float:
        x = trial.suggest_float("x", -1, 1)
        extra = trial.suggest_categorical("on", [True, False]) and trial.suggest_int("n", 0, 3)
        return x**2 + extra + loss_of(plan_of(trial))

    study = study_with(AdditiveSampler(seed=0), 1)
    study.optimize(objective, n_trials=25)
    assert len({t.params["x"] for t in study.trials}) == 25


def test_first_trial_is_the_reference_and_pickling_keeps_the_seed() -> None:
    sampler = AdditiveSampler(reference={"g0": 1}, seed=5)
    copy = pickle.loads(pickle.dumps(sampler))
    studies = [study_with(s) for s in (sampler, copy)]
    for study in studies:
        study.optimize(two, n_trials=14)
    assert plans_in(studies[0])[0] == (1, 0, 0, 0)
    assert plans_in(studies[0]) == plans_in(studies[1])


def test_bad_input_is_one_clear_line() -> None:
    space = {"g0": optuna.distributions.IntDistribution(0, 2)}
    with pytest.raises(InputError, match="reference of g0 must be one of 0, 1, 2; got 7"):
        AdditiveSampler(search_space=space, reference={"g0": 7})
    study = study_with(AdditiveSampler({"g0": {0: 1.0}}, search_space=space))
    with pytest.raises(InputError, match="every choice of g0; 1 is missing"):
        study.ask(space)
    bad = study_with(AdditiveSampler(AdditiveCost(lambda n, c: float("nan")), search_space=space))
    with pytest.raises(InputError, match="every cost must be finite"):
        bad.ask(space)
    with pytest.raises(ValueError, match="one or two objectives"):
        study_with(AdditiveSampler(search_space=space), 3).ask(space)


def test_a_plan_is_chosen_on_one_blas_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    def threads() -> set[int]:
        return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

    seen: list[set[int]] = []
    advise = Advisor.advise

    def watched(*arguments: Any) -> Any:
        seen.append(threads())
        return advise(*arguments)

    monkeypatch.setattr(Advisor, "advise", watched)
    with threadpool_limits(2, user_api="blas"):
        before = threads()
        study_with(AdditiveSampler(TABLE, seed=0)).optimize(two, n_trials=5)
        assert threads() == before
    assert seen and set().union(*seen) == {1}
