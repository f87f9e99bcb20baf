"""A search that is killed at any moment: no trial is lost or counted twice, and it ends as if unharmed."""

import dataclasses
import multiprocessing
import sqlite3
import time

import optuna
import pytest
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from hwsearch.study import Goal, SearchSpace, load_study
from hwsearch.study.run import run_study
from hwsearch.study.storage import sqlite
from hwsearch.study.storage.databases import open_storage
from tests.killing import killed_at_random
from tests.study.test_run import make_objective

#: As many as there are plans: in whatever order they are proposed, all have been tried in the end.
TRIALS = 54

FORK = multiprocessing.get_context("fork")


def tied():
    objective = make_objective(Goal(target_ratio=1.2))
    formats = ("fp32", "w8", "w4")
    space = SearchSpace(num_layers=2, formats=formats, thresholds=(1.0, 0.5), groups="tied")
    assert space.size == TRIALS
    return dataclasses.replace(objective, space=space)


def begin(objective, storage):
    process = FORK.Process(
        target=lambda: run_study(objective, trials=TRIALS, name="killed", storage=str(storage))
    )
    process.start()
    return process


def finish(objective, storage):
    began, process = time.monotonic(), begin(objective, storage)
    process.join()
    assert process.exitcode == 0
    return time.monotonic() - began


def losses(storage):
    """The loss of every plan; there is one trial of each, and none is left over."""
    assert sqlite3.connect(storage).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    study = load_study("killed", str(storage))
    frame, states = study.frame(), {trial.state for trial in study.optuna.get_trials()}
    assert len(frame) == frame["plan"].nunique() == TRIALS
    assert not {TrialState.RUNNING, TrialState.WAITING} & states
    return dict(zip(frame["plan"], frame["loss"], strict=True))


@pytest.mark.slow
def test_a_killed_search_is_gone_on_with(tmp_path):
    whole, out = tmp_path / "whole.db", tmp_path / "out.db"
    objective = tied()
    # its estimates are on disk then: torch with CUDA refuses autograd in a forked process
    run_study(objective, trials=1, name="first", storage=str(tmp_path / "first.db"))
    seconds = finish(objective, whole)
    for _ in killed_at_random(lambda: begin(objective, out), seconds):
        pass  # the next run finds what is left
    finish(objective, out)
    expected = losses(whole)
    assert losses(out) == pytest.approx(expected, rel=1e-4, abs=1e-9)
    assert load_study("killed", str(out)).best_plan == load_study("killed", str(whole)).best_plan


class Killed(BaseException):
    """Nothing of what a process would still do is done after this."""


class Quick:
    """A loss that is known at once."""

    name, cost = "quick", 0.0

    def loss(self, network, kept_shares):
        return 0.1


#: Whatever a search writes into its storage, it writes by one of these.
WRITES = (
    "create_new_study", "_create_new_trial", "set_study_user_attr", "set_study_system_attr",
    "_set_trial_param", "set_trial_state_values", "set_trial_user_attr", "set_trial_system_attr",
)  # fmt: skip

FOR_EVER = 10**9

#: Before what a first run is killed, and how many of its kind it has written then.
FIRST = {
    "as it is described": ("set_study_user_attr", 5),
    "as its plans are queued": ("_create_new_trial", 2),
    "as a plan is taken": ("_set_trial_param", 7),
    "as a plan is chosen": ("_set_trial_param", 24),
    "as a loss is written": ("set_trial_state_values", 3),
}

#: The same of the run after it, which tidies up.
SECOND = {
    "as a plan is queued again": ("_create_new_trial", 0),
    "as a trial fails": ("set_trial_state_values", 0),
}


@pytest.fixture
def kill_before(monkeypatch):
    """Let a write to a storage, and all that follow, raise `Killed`: the first so many are done."""
    left, over = {}, []

    def watched(name, write):
        def call(*arguments, **named):
            left[name] = left.get(name, FOR_EVER) - 1
            if over or left[name] < 0:
                over.append(name)
                raise Killed
            return write(*arguments, **named)

        return call

    for name in WRITES:
        monkeypatch.setattr(RDBStorage, name, watched(name, getattr(RDBStorage, name)))

    def set_to(name, count):
        over.clear()
        left.clear()
        left[name] = count

    return set_to


@pytest.fixture(scope="module")
def quick():
    objective = make_objective(Goal(target_ratio=0.6))
    object.__setattr__(objective, "loss_function", Quick())
    return objective


def run_quickly(objective, storage):
    return run_study(objective, trials=8, name="killed", storage=str(storage))


@pytest.mark.slow
@pytest.mark.parametrize("first", FIRST)
@pytest.mark.parametrize("second", SECOND)
def test_no_write_is_one_too_few(quick, tmp_path, kill_before, monkeypatch, first, second):
    monkeypatch.setattr("hwsearch.study.run.record_noise", lambda study, objective: None)
    for moment in (FIRST[first], SECOND[second]):
        kill_before(*moment)
        # Optuna's own tidying up stumbles where it cannot write either
        with pytest.raises((Killed, UnboundLocalError)):
            run_quickly(quick, tmp_path / "s.db")
    kill_before("nothing", FOR_EVER)
    study = run_quickly(quick, tmp_path / "s.db")
    plans, uniform = study.frame()["plan"], set(filter(quick.meets, quick.space.uniform_plans()))
    assert len(plans) == plans.nunique() == 8
    assert 1 < len(uniform) < 8 and uniform <= set(plans)


def test_a_file_whose_tables_were_being_made_is_gone_on_with(tmp_path):
    path = tmp_path / "s.db"
    with sqlite3.connect(path) as connection:
        connection.execute(
            "CREATE TABLE studies (study_id INTEGER NOT NULL PRIMARY KEY, study_name VARCHAR(512))"
        )
    assert sqlite.foreign_tables(path) == []
    assert optuna.get_all_study_names(open_storage(str(path))) == []
