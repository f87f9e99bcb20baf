"""Several real processes at one SQLite study: all end well, and no plan is tried twice."""

import multiprocessing
import os
import signal
import sqlite3
from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState

from hwsearch.errors import StudyError
from hwsearch.study import Goal, load_study
from hwsearch.study.storage import sqlite
from hwsearch.study.storage.databases import open_storage
from hwsearch.study.storage.presence import presence, turn
from tests.study.test_run import make_objective
from tests.study.test_workers import lines, start_worker, trials_of, wait_until

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def objective():
    return make_objective(Goal(target_ratio=0.6))


def left_beside(path):
    return [p.name for p in path.parent.glob(f".{path.name}.*") if not p.name.endswith(".lock")]


@pytest.mark.slow
@pytest.mark.parametrize("count", [2, 3])
def test_workers_of_one_file_end_together_and_try_no_plan_twice(objective, tmp_path, count):
    path, evaluated = tmp_path / "s.db", tmp_path / "evaluated"
    workers = [start_worker(objective, str(path), "s", 30, evaluated) for _ in range(count)]
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    assert len(lines(evaluated)) == 30, "every trial was evaluated once"
    assert len({line.split()[0] for line in lines(evaluated)}) == count, "all worked"
    states = Counter(trial.state for trial in trials_of(str(path), "s"))
    assert states == {TrialState.COMPLETE: 30}
    frame = load_study("s", str(path)).frame()
    assert frame["plan"].nunique() == 30
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert left_beside(path) == []


def test_a_worker_that_joins_leaves_the_others_trial_alone(objective, tmp_path):
    path, evaluated = tmp_path / "s.db", tmp_path / "evaluated"
    begun, go_on = FORK.Event(), FORK.Event()

    def wait(plan):
        if len(lines(evaluated)) == 3:
            begun.set()
            go_on.wait(120)

    first = start_worker(objective, str(path), "s", 12, evaluated, wait)
    assert begun.wait(120)
    second = start_worker(objective, str(path), "s", 10, evaluated)
    wait_until(lambda: len(lines(evaluated)) >= 6)
    go_on.set()
    for worker in (first, second):
        worker.join(120)
        assert worker.exitcode == 0
    assert Counter(trial.state for trial in trials_of(str(path), "s")) == {TrialState.COMPLETE: 12}


def test_a_worker_that_is_killed_loses_its_trial_alone_and_at_once(objective, tmp_path):
    path, evaluated = tmp_path / "s.db", tmp_path / "evaluated"
    begun = FORK.Event()

    def hang(plan):
        if len(lines(evaluated)) == 4:
            begun.set()
            signal.pause()

    first = start_worker(objective, str(path), "s", 12, evaluated, hang)
    assert begun.wait(120)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    (lost,) = [t for t in trials_of(str(path), "s") if t.state == TrialState.RUNNING]
    assert len(left_beside(path)) == 1
    second = start_worker(objective, str(path), "s", 12, evaluated)
    second.join(120)
    assert second.exitcode == 0
    states = Counter(trial.state for trial in trials_of(str(path), "s"))
    assert states == {TrialState.COMPLETE: 12, TrialState.FAIL: 1}
    again = [t for t in trials_of(str(path), "s") if t.params == lost.params]
    assert [t.state for t in again] == [TrialState.FAIL, TrialState.COMPLETE]
    assert left_beside(path) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError, PermissionError("no")])
def test_what_ends_a_worker_frees_its_trial_and_keeps_its_plan(objective, tmp_path, error):
    path, evaluated = tmp_path / "s.db", tmp_path / "evaluated"

    def end(plan):
        if len(lines(evaluated)) == 2:
            raise error

    worker = start_worker(objective, str(path), "s", 8, evaluated, end)
    worker.join(120)
    assert worker.exitcode != 0
    states = Counter(trial.state for trial in trials_of(str(path), "s"))
    assert states[TrialState.RUNNING] == 0 and states[TrialState.FAIL] == 1
    uniform = len(list(filter(objective.meets, objective.space.uniform_plans())))
    start_worker(objective, str(path), "s", 8, evaluated).join(120)
    frame = load_study("s", str(path)).frame()
    assert len(frame) == 8 and frame["uniform"].sum() >= uniform, "no queued plan was lost"


def test_a_turn_that_never_ends_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sqlite, "WAIT_S", 0.2)
    path = tmp_path / "s.db"
    storage = open_storage(str(path))
    with turn(path), pytest.raises(StudyError, match="is locked by another program: a search"):
        run_study_quickly(storage, path)
    assert optuna.get_all_study_names(storage) == []


def run_study_quickly(storage, path):
    from hwsearch.study.workers import join

    join("s", storage, 1, lambda study: None)


def test_who_is_present_is_seen_by_others(tmp_path):
    storage = open_storage(str(tmp_path / "a[b]?.db"))
    with presence(storage) as first:
        assert first is not None and not first.has_company
        with presence(storage) as second:
            assert second is not None
            assert first.has_company and second.has_company
            assert first.is_alive(second.name) and second.is_alive(first.name)
        assert not first.is_alive(second.name) and not first.has_company
        assert not first.is_alive("worker-of-nobody") and not first.is_alive(None)
