"""Trials that stop early: by Wilcoxon's test, and on few states first."""

import dataclasses
import functools

import numpy as np
import optuna
import pytest
from optuna.trial import TrialState

from hwsearch.errors import InputError
from hwsearch.study import Goal, ObjectiveKind, prepare, resolve
from hwsearch.study.choices.search_space import SearchSpace, is_uniform
from hwsearch.study.early_stopping import (
    EarlyStopping,
    Peer,
    estimate,
    is_worse,
    peers_of,
)
from hwsearch.study.records.study import ended, finished
from hwsearch.study.records.trial_record import ESTIMATE, LOSSES, SHARE, SPREAD
from hwsearch.study.run import run_study
from hwsearch.tasks.losses.by_state import StateLoss
from hwsearch.tasks.losses.kl import FrozenStates
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.study.test_run import WORK, Watched

NUMBERS = ["3", "4", "5", "6", "7", "8", "9", "10", "11", "12"]
QUESTIONS = [f"tom has {n} apples ?" + " now" * i for i, n in enumerate(NUMBERS)]
BOTH = EarlyStopping("wilcoxon", 0.25)


@pytest.fixture(scope="module")
def objective():
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, WORK)
    space = SearchSpace(num_layers=2, thresholds=(1.0, 0.5))
    states = FrozenStates.record(denoiser, QUESTIONS)
    assert len(states.states) >= 10
    return prepare(denoiser, space, device, WORK, Goal(target_ratio=0.6), QUESTIONS, states)


@pytest.fixture(scope="module")
def shared(objective, tmp_path_factory):
    """The search of 32 trials of an objective and a way to stop, which is made once for all tests."""

    @functools.cache
    def search(early, kind):
        return searched(objective.with_goal(objective=kind), tmp_path_factory.mktemp("s"), early)

    return search


def searched(objective, tmp_path, early, trials=32, **options):
    stopping = dataclasses.replace(objective, early=early)
    storage = str(tmp_path / "s.db")
    return run_study(stopping, trials=trials, name="s", storage=storage, **options)


def states_of(losses, weights=None):
    weights = np.full(len(losses), 1 / len(losses)) if weights is None else np.array(weights)
    so_far = np.cumsum(weights * losses) / np.cumsum(weights)
    return [StateLoss(*row) for row in zip(losses, weights, weights, so_far, strict=True)]


def peer(losses, number=0):
    return Peer(number, np.array(losses), float(np.mean(losses)), (), True)


def test_the_test_is_that_of_optuna_s_pruner():
    rng, verdicts = np.random.default_rng(0), []
    for _ in range(60):
        theirs = rng.lognormal(size=12)
        mine = theirs * rng.lognormal(rng.choice([0.0, 0.2]), 0.2, 12)
        study = optuna.create_study(pruner=optuna.pruners.WilcoxonPruner(p_threshold=0.05))
        steps = dict(enumerate(theirs))
        study.add_trial(optuna.create_trial(value=theirs.mean(), intermediate_values=steps))
        trial = study.ask()
        for step, loss in enumerate(mine):
            trial.report(loss, step)
        verdicts.append(is_worse(states_of(mine), peer(theirs)))
        assert verdicts[-1] == trial.should_prune()
    assert 5 < sum(verdicts) < 55


def test_a_plan_that_is_better_in_the_mean_is_not_worse():
    theirs = np.full(12, 1.0)
    mine = np.append(np.full(11, 1.01), 0.1)
    assert not is_worse(states_of(mine), peer(theirs))
    assert is_worse(states_of(np.full(12, 1.01)), peer(theirs))
    assert not is_worse(states_of(np.full(4, 9.0)), peer(theirs)), "too few states to say"


def test_an_estimate_is_right_about_as_often_as_its_spread_says():
    rng = np.random.default_rng(1)
    weights, inside = rng.dirichlet(np.ones(20)), []
    for _ in range(200):
        losses = rng.lognormal(size=(20, 1)) * rng.lognormal(sigma=0.3, size=(20, 20))
        wholes = losses.T @ weights
        peers = [Peer(i, losses[:, i], wholes[i], (), True) for i in range(1, 20)]
        found = estimate(states_of(losses[:8, 0], weights[:8]), peers)
        inside.append(abs(found.loss - wholes[0]) < found.spread)
    assert 0.5 < np.mean(inside) < 0.85


def test_too_few_trials_say_nothing():
    assert estimate(states_of(np.ones(3)), [peer(np.ones(9))] * 3) is None
    assert estimate(states_of(np.zeros(3)), [peer(np.ones(9))] * 9) is None


@pytest.mark.parametrize("early", [EarlyStopping("wilcoxon"), EarlyStopping(fidelity=0.25), BOTH])
@pytest.mark.parametrize("kind", [ObjectiveKind.LOSS, ObjectiveKind.FRONT])
def test_stopped_trials_never_win_and_none_of_them_could_have(objective, shared, early, kind):
    objective = objective.with_goal(objective=kind)
    study = shared(early, kind)
    stopped = [t for t in ended(study.optuna) if t.state == TrialState.PRUNED]
    assert stopped and len(ended(study.optuna)) == 32
    assert set(study.front()["number"]) <= {t.number for t in finished(study.optuna)}
    for trial in stopped:
        plan = study.space.plan(trial.params)
        assert not is_uniform(plan)
        assert 0 < trial.user_attrs[SHARE] < 1
        if kind is ObjectiveKind.LOSS and objective.meets(plan):
            assert objective.loss(plan) > study.feasible()["loss"].iloc[0]
    uniform = {plan for plan in objective.space.uniform_plans() if objective.meets(plan)}
    assert uniform <= set(study.frame()["plan"])


def test_estimates_of_stopped_trials_are_near_the_truth_and_told_to_the_sampler(objective, shared):
    study = shared(EarlyStopping(fidelity=0.25), ObjectiveKind.LOSS)
    told = [t for t in ended(study.optuna) if ESTIMATE in t.user_attrs]
    errors = [
        (objective.loss(study.space.plan(t.params)) - t.user_attrs[ESTIMATE][0])
        / t.user_attrs[SPREAD]
        for t in told
    ]
    assert len(told) > 5
    assert np.median(np.abs(errors)) < 2


def test_another_target_is_answered_with_what_stopped_trials_say(objective, shared):
    study = shared(EarlyStopping(fidelity=0.25), ObjectiveKind.LOSS)
    known = set(study.frame()["plan"])
    for ratio in (0.75, 0.9):
        found = resolve(study, ratio / 0.6 * study.target_ms)
        assert (found.trial is None) == (found.plan not in known)
        largest = study.frame()["loss"].max()
        assert found.loss == pytest.approx(objective.loss(found.plan), abs=0.05 * largest)


def test_whole_losses_are_those_without_stopping(objective, shared):
    study = shared(BOTH, ObjectiveKind.LOSS)
    for trial in finished(study.optuna):
        assert trial.values[0] == objective.loss(study.space.plan(trial.params))
    for known in peers_of(study.optuna):
        assert len(known.losses) == len(objective.loss_function.states)


@pytest.mark.parametrize("sampler", ["tpe", "gp", "nsga2", "cmaes", "random"])
def test_every_sampler_lives_with_stopped_trials(objective, tmp_path, sampler):
    study = searched(objective, tmp_path, BOTH, trials=18, sampler=sampler)
    assert len(ended(study.optuna)) == 18
    if sampler != "cmaes":
        both = objective.with_goal(objective=ObjectiveKind.FRONT)
        (tmp_path / "two").mkdir()
        study = searched(both, tmp_path / "two", BOTH, trials=18, sampler=sampler)
        assert len(ended(study.optuna)) == 18


def test_a_continued_search_goes_on_to_its_number_and_stops_by_old_trials(objective, tmp_path):
    searched(objective, tmp_path, BOTH, trials=18)
    study = searched(objective, tmp_path, BOTH, trials=26)
    assert len(ended(study.optuna)) == 26
    assert all(LOSSES in t.user_attrs for t in ended(study.optuna))


def test_what_cannot_be_watched_cannot_stop(objective, tmp_path):
    whole = dataclasses.replace(objective, loss_function=Watched(objective.loss_function, []))
    with pytest.raises(InputError, match="'kl' is not computed state by state"):
        searched(whole, tmp_path, BOTH)
    searched(whole, tmp_path, EarlyStopping(), trials=2)
    with pytest.raises(InputError, match="fidelity must be above 0 and at most 1; got 0"):
        EarlyStopping(fidelity=0.0)
