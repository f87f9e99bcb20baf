"""Several workers on one real PostgreSQL, which the tests start themselves."""

import multiprocessing
import os
import signal
import threading
import time
from collections import Counter

import optuna
import pytest
from optuna.trial import TrialState

from hwsearch.errors import StudyError
from hwsearch.study import load_study
from hwsearch.study.goal import Goal
from hwsearch.study.objective import Objective
from hwsearch.study.refinement import run_refined
from hwsearch.study.run import run_study
from hwsearch.study.storage import proposal_lock as locks
from hwsearch.study.storage.databases import open_storage
from hwsearch.study.storage.proposal_lock import proposal_lock
from hwsearch.testing.postgres import find_postgres, postgres_server
from tests.study.test_run import make_objective

PROGRAMS = find_postgres()
FORK = multiprocessing.get_context("fork")
needs_postgres = pytest.mark.skipif(
    PROGRAMS is None, reason="no PostgreSQL server here (Debian: apt install postgresql)"
)
pytestmark = needs_postgres


@pytest.fixture(scope="module")
def url():
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed")
    with postgres_server(PROGRAMS) as url:
        open_storage(url)  # create the tables once, not four times at the same moment
        yield url


@pytest.fixture(scope="module")
def objective():
    return make_objective(Goal(target_ratio=0.6))


def start_worker(
    objective, url, name, trials, evaluated, on_plan=None, run=run_study, heartbeat_s=1
):
    """A worker in a process of its own that writes down every plan whose loss it computes."""

    def main():
        def loss(self, plan):
            with evaluated.open("a") as file:
                file.write(f"{os.getpid()} {plan.model_dump_json()}\n")
            if on_plan is not None:
                on_plan(plan)
            return real(self, plan)

        real, Objective.loss = Objective.loss, loss
        run(objective, trials=trials, name=name, storage=url, heartbeat_s=heartbeat_s)

    worker = FORK.Process(target=main)
    worker.start()
    return worker


def trials_of(url, name):
    return optuna.load_study(study_name=name, storage=open_storage(url)).get_trials(deepcopy=False)


def wait_until(condition, seconds=60):
    stop = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < stop, "timed out"
        time.sleep(0.1)


def lines(path):
    return path.read_text().splitlines() if path.exists() else []


@pytest.mark.slow
def test_four_workers_finish_200_trials_and_none_is_lost_or_doubled(objective, url, tmp_path):
    evaluated = tmp_path / "evaluated"
    workers = [
        # a machine so busy that it misses two beats of a second would try a plan again
        start_worker(objective, url, "four", 200, evaluated, heartbeat_s=30)
        for _ in range(4)
    ]
    for worker in workers:
        worker.join(600)
        assert worker.exitcode == 0
    study = load_study("four", url)
    frame = study.frame()
    assert len(frame) == 200
    assert len(lines(evaluated)) == 200, "every trial was evaluated once"
    assert len({line.split()[0] for line in lines(evaluated)}) == 4, "all four worked"
    states = Counter(trial.state for trial in trials_of(url, "four"))
    assert states[TrialState.RUNNING] == states[TrialState.WAITING] == 0
    assert objective.space.size > 4 * 200
    tried = Counter(frame["plan"])
    assert len(tried) == 200, "no plan was tried twice"
    assert all(tried[p] == 1 for p in objective.space.uniform_plans() if objective.meets(p))


def test_a_turn_is_held_by_one_worker_until_it_is_ended_or_dies(url):
    storage = open_storage(url)
    inside, release = FORK.Event(), FORK.Event()

    def hold():
        with proposal_lock(open_storage(url), "held"):
            inside.set()
            release.wait(60)
            os._exit(9)  # dies with the turn

    holder = FORK.Process(target=hold)
    holder.start()
    assert inside.wait(60)
    with proposal_lock(storage, "another study"):
        pass
    taken = threading.Event()

    def take():
        with proposal_lock(storage, "held") as mine:
            mine.release()
            with proposal_lock(storage, "held"):  # its end let the next one in
                taken.set()

    taker = threading.Thread(target=take)
    taker.start()
    assert not taken.wait(0.5)
    release.set()
    taker.join(60)
    assert taken.is_set()
    holder.join(60)
    assert holder.exitcode == 9


def test_a_worker_does_not_wait_for_ever(url, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE_S", 1)
    with proposal_lock(open_storage(url), "stuck"), proposal_lock(open_storage(url), "stuck"):
        pass


@pytest.mark.slow
def test_two_workers_refine_together_and_try_no_plan_twice(objective, url, tmp_path):
    evaluated = tmp_path / "evaluated"
    workers = [
        start_worker(objective, url, "refined", 60, evaluated, run=run_refined, heartbeat_s=30)
        for _ in range(2)
    ]
    for worker in workers:
        worker.join(300)
        assert worker.exitcode == 0
    plans = [line.split(" ", 1)[1] for line in lines(evaluated)]
    assert len(plans) == len(set(plans)) == 60
    assert len(load_study("refined", url).frame()) == 60


@pytest.mark.slow
def test_a_killed_worker_loses_only_its_trial_which_is_retried(objective, url, tmp_path):
    evaluated = tmp_path / "evaluated"

    def hang(plan):
        if len(lines(evaluated)) >= 5:
            time.sleep(600)

    first = start_worker(objective, url, "killed", 20, evaluated, hang)
    wait_until(lambda: len(lines(evaluated)) == 5)
    os.kill(first.pid, signal.SIGKILL)
    first.join()
    before = [t for t in trials_of(url, "killed") if t.state == TrialState.COMPLETE]
    (lost,) = [t for t in trials_of(url, "killed") if t.state == TrialState.RUNNING]
    assert len(before) == 4

    second = start_worker(objective, url, "killed", 20, evaluated)
    second.join(120)
    assert second.exitcode == 0
    after = trials_of(url, "killed")
    assert [after[t.number].values for t in before] == [t.values for t in before]
    assert after[lost.number].state == TrialState.FAIL
    (again,) = [t for t in after if t.params == lost.params and t.number != lost.number]
    assert again.state == TrialState.COMPLETE
    assert len(load_study("killed", url).frame()) == 20


@pytest.mark.slow
def test_a_worker_taken_for_dead_drops_its_trial_and_goes_on(objective, url, tmp_path):
    evaluated = tmp_path / "evaluated"

    def stand_still(plan):
        if len(lines(evaluated)) == 5:
            os.kill(os.getpid(), signal.SIGSTOP)

    first = start_worker(objective, url, "stopped", 40, evaluated, stand_still)
    wait_until(lambda: len(lines(evaluated)) == 5)
    (lost,) = [t for t in trials_of(url, "stopped") if t.state == TrialState.RUNNING]
    second = start_worker(objective, url, "stopped", 20, evaluated)
    second.join(120)
    assert second.exitcode == 0
    os.kill(first.pid, signal.SIGCONT)
    first.join(120)
    assert first.exitcode == 0
    after = trials_of(url, "stopped")
    assert after[lost.number].state == TrialState.FAIL
    (again,) = [t for t in after if t.params == lost.params and t.number != lost.number]
    assert again.state == TrialState.COMPLETE
    assert len(load_study("stopped", url).frame()) == 40, "it went on"


@pytest.mark.slow
def test_an_error_of_the_plan_itself_stops_the_worker(objective, url, tmp_path):
    def fail(plan):
        raise ValueError("the plan's own")

    worker = start_worker(objective, url, "failing", 12, tmp_path / "evaluated", fail)
    worker.join(120)
    assert worker.exitcode == 1
    assert trials_of(url, "failing")[0].state == TrialState.FAIL


@pytest.mark.slow
def test_a_plan_that_kills_its_worker_twice_is_given_up(objective, url, tmp_path):
    evaluated = tmp_path / "evaluated"
    plans = list(filter(objective.meets, objective.space.uniform_plans()))

    def die(plan):
        if plan == plans[0]:
            os._exit(7)

    codes = []
    for _ in range(3):
        worker = start_worker(objective, url, "deadly", 12, evaluated, die)
        worker.join(120)
        codes.append(worker.exitcode)
        time.sleep(2.5)  # until the dead worker's silence counts
    assert codes == [7, 7, 0]
    params = objective.space.params(plans[0])
    states = [t.state for t in trials_of(url, "deadly") if t.params == params]
    assert states == [TrialState.FAIL, TrialState.FAIL]
    assert len(load_study("deadly", url).frame()) == 12


def test_same_seed_same_storage_one_worker_gives_the_same_front(objective, url):
    fronts = []
    for name in ("once", "twice"):
        study = run_study(objective, trials=24, name=name, storage=url, seed=3)
        fronts.append(study.front()[["loss", "generation_ms", "plan"]])
    assert fronts[0].equals(fronts[1])


def test_the_dashboard_opens_the_study(objective, url):
    dashboard = pytest.importorskip("optuna_dashboard")
    run_study(objective, trials=1, name="shown", storage=url)
    app = dashboard.wsgi(open_storage(url))
    answered = []
    environ = {
        "REQUEST_METHOD": "GET", "PATH_INFO": "/api/studies", "SERVER_NAME": "here",
        "SERVER_PORT": "80", "wsgi.url_scheme": "http", "wsgi.input": None,
    }  # fmt: skip
    body = b"".join(app(environ, lambda status, headers, *_: answered.append(status)))
    assert answered == ["200 OK"]
    assert b'"shown"' in body


def test_a_server_that_does_not_answer_is_one_line_without_the_password():
    with pytest.raises(
        StudyError, match=r"storage .*:\*\*\*@127.0.0.1:1/x cannot be used"
    ) as error:
        open_storage("postgresql://u:secret@127.0.0.1:1/x")
    assert "secret" not in str(error.value) and len(str(error.value).splitlines()) == 1
