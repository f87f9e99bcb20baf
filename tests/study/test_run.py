import dataclasses
import itertools
import signal
import subprocess
import sys
import textwrap
import time

import optuna
import pytest

from hwsearch.errors import InfeasibleTargetError, InputError, StudyError, UnknownNameError
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.operators import Workload
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.study import Goal, ObjectiveKind, SearchSpace, load_study, prepare
from hwsearch.study.loss_noise import RUNS
from hwsearch.study.objective import size_bytes
from hwsearch.study.preparation import choose_loss, fastest_plan
from hwsearch.study.run import enqueue, identity, run_study
from hwsearch.study.storage.databases import open_storage
from hwsearch.tasks.problem import Problem
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser

WORK = Workload(9, Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2))
QUESTIONS = ["tom has 3 apples ?", "tom has 4 apples and buys 5 more ?"]


def make_objective(goal):
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, WORK)
    space = SearchSpace(num_layers=2, thresholds=(1.0, 0.5))
    return prepare(denoiser, space, device, WORK, goal, QUESTIONS)


@pytest.fixture(scope="module")
def objective():
    return make_objective(Goal(target_ratio=0.6))


def test_a_published_device_is_searched_in_its_own_formats():
    denoiser, device = tiny_denoiser(), load_device("apple-m2")
    space = SearchSpace.of(denoiser, device)
    assert space.formats == ("fp16", "w8", "w4")
    objective = prepare(denoiser, space, device, WORK, Goal(target_ratio=1.1), QUESTIONS)
    uncompressed = CompressionPlan.uniform(2, "fp16", "fp16", head="fp16")
    assert objective.target_ms == pytest.approx(1.1 * objective.latency(uncompressed).generation_ms)
    study = optuna.create_study()
    enqueue(study, objective)
    first = study.get_trials()[0].system_attrs["fixed_params"]
    assert space.plan(first) == uncompressed


@pytest.fixture(scope="module")
def study(objective, tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("study") / "s.db")
    return run_study(objective, trials=30, name="tiny", storage=storage, sampler="additive")


def test_the_winner_meets_the_target_and_no_uniform_plan_beats_it(objective, study):
    best, uniform = study.feasible().iloc[0], study.feasible(uniform=True).iloc[0]
    assert best["generation_ms"] <= objective.target_ms
    assert best["loss"] <= uniform["loss"]
    assert study.best_plan == best["plan"]
    assert not study.frame().query("generation_ms > @objective.target_ms")["feasible"].any()


def test_all_uniform_plans_that_meet_the_target_were_tried(objective, study):
    tried = set(study.frame()["plan"])
    for plan in objective.space.uniform_plans():
        if objective.latency(plan).generation_ms <= objective.target_ms:
            assert plan in tried
    assert CompressionPlan.uniform(2) in tried


def test_the_front_is_a_front(study):
    front, frame = study.front(), study.frame()
    assert front["generation_ms"].is_monotonic_increasing
    assert front["loss"].is_monotonic_decreasing
    for row in frame.itertuples():
        beaten = (front["loss"] <= row.loss) & (front["generation_ms"] <= row.generation_ms)
        assert beaten.any()


def test_costs_are_exact(objective):
    costs = objective.costs()
    for plan in list(objective.space.uniform_plans())[::3]:
        params = objective.space.params(plan)
        added = sum(costs[name][choice] for name, choice in params.items())
        predicted = objective.latency(plan).generation_ms
        assert predicted - added == pytest.approx(objective.target_ms - objective.budget_ms())


def test_a_study_is_continued_by_name(objective, tmp_path):
    storage = str(tmp_path / "s.db")
    first = run_study(objective, trials=9, name="s", storage=storage, sampler="random").frame()
    again = run_study(objective, trials=12, name="s", storage=storage, sampler="random")
    assert (len(first), len(again.frame())) == (9, 12)
    assert again.frame()["plan"].tolist()[:9] == first["plan"].tolist()
    assert len(set(again.frame()["plan"])) == 12, "a continued search repeats no plan"
    assert load_study("s", storage).best_plan == again.best_plan
    done = run_study(objective, trials=12, name="s", storage=storage, sampler="random")
    assert len(done.frame()) == 12


def test_uniform_plans_are_tried_however_few_trials_are_asked_for(objective, tmp_path):
    study = run_study(objective, trials=1, name="s", storage=str(tmp_path / "s.db"))
    meeting = {p for p in objective.space.uniform_plans() if objective.meets(p)}
    assert len(meeting) > 1
    assert meeting <= set(study.frame()["plan"])


def test_a_study_of_something_else_is_not_continued(objective, tmp_path):
    storage = str(tmp_path / "s.db")
    run_study(objective, trials=1, name="s", storage=storage, sampler="random")
    other = make_objective(Goal(target_ratio=0.6))
    object.__setattr__(other, "space", SearchSpace(num_layers=2, thresholds=(1.0, 0.25)))
    with pytest.raises(InputError, match="study s was created with space"):
        run_study(other, trials=2, name="s", storage=storage, sampler="random")


def test_an_infeasible_target_names_the_fastest_plan():
    with pytest.raises(InfeasibleTargetError, match=r"the fastest takes .* ms .*layer \d"):
        make_objective(Goal(target_ratio=0.01))


def test_the_fastest_plan_is_the_fastest(objective):
    least = objective.latency(fastest_plan(objective)).generation_ms
    frame_least = min(objective.latency(p).generation_ms for p in objective.space.uniform_plans())
    assert least <= frame_least


@pytest.mark.parametrize(
    "given",
    [{}, {"target_ms": 1.0, "target_ratio": 0.5}, {"target_ms": 0.0}, {"target_ratio": -1.0}],
)
def test_a_target_is_one_positive_number(given):
    with pytest.raises(InputError):
        Goal(**given)


def test_unknown_sampler_and_study_are_named(objective, tmp_path):
    with pytest.raises(UnknownNameError, match="did you mean 'tpe'"):
        run_study(objective, trials=1, name="s", storage=str(tmp_path / "s.db"), sampler="tpee")
    with pytest.raises(UnknownNameError, match="unknown study 'nope'"):
        load_study("nope")


WORKER = """
    import sys, time
    import torch
    torch.set_num_threads(1)
    from hwsearch.study.run import run_study
    from hwsearch.study.objective import Objective
    from hwsearch.study import Goal
    from tests.study.test_run import make_objective

    objective = make_objective(Goal(target_ratio=0.6))
    loss = Objective.loss
    def slow(self, plan):
        time.sleep(0.2)
        return loss(self, plan)
    Objective.loss = slow
    run_study(objective, trials=1000, name="killed", storage=sys.argv[1], sampler="random")
"""


def test_a_killed_search_keeps_its_finished_trials(objective, tmp_path):
    storage = str(tmp_path / "killed.db")
    worker = subprocess.Popen([sys.executable, "-c", textwrap.dedent(WORKER), storage])
    url = f"sqlite:///{storage}"
    deadline = time.monotonic() + 120
    count = 0
    while count < 3 and time.monotonic() < deadline:
        time.sleep(0.3)
        count = finished_in(url)
    worker.send_signal(signal.SIGKILL)
    worker.wait()
    before = [t for t in trials_of(url) if t.state == optuna.trial.TrialState.COMPLETE]
    assert len(before) >= 3
    study = run_study(
        objective, trials=len(before) + 2, name="killed", storage=storage, sampler="random"
    )
    after = {trial.number: trial.params for trial in trials_of(url)}
    assert len(study.frame()) == len(before) + 2
    assert all(after[trial.number] == trial.params for trial in before)
    assert not [t for t in trials_of(url) if t.state == optuna.trial.TrialState.RUNNING]


def trials_of(url):
    return optuna.load_study(study_name="killed", storage=url).get_trials(deepcopy=False)


def finished_in(url):
    try:
        return sum(t.state == optuna.trial.TrialState.COMPLETE for t in trials_of(url))
    except Exception:
        return 0  # not created yet


def test_enqueueing_twice_adds_nothing(objective):
    study = optuna.create_study()
    enqueue(study, objective)
    count = len(study.trials)
    enqueue(study, objective)
    assert len(study.trials) == count


def test_a_search_by_another_loss_says_which_and_needs_answers():
    space = SearchSpace(num_layers=2)
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, WORK)
    problems = [Problem(question, "") for question in QUESTIONS]
    loss_function = choose_loss("agreement", denoiser, problems)
    objective = prepare(
        denoiser, space, device, WORK, Goal(target_ratio=1.0), QUESTIONS, loss_function
    )
    assert identity(objective)["loss"] == "agreement"
    assert objective.loss(CompressionPlan.uniform(2)) == 0.0
    assert choose_loss("kl", denoiser, problems) is None
    with pytest.raises(InputError, match="'nll' needs problems with answers"):
        choose_loss("nll", denoiser, problems)


def test_contradictory_limits_are_one_line(objective):
    denoiser, device = tiny_denoiser(), objective.predictor.device
    space = SearchSpace(num_layers=2, thresholds=(1.0, 0.5))
    least = size_bytes(denoiser, CompressionPlan.uniform(2, "w4", "w4", head="w4"))
    arguments = (denoiser, space, device, WORK)
    with pytest.raises(InfeasibleTargetError, match=f"max_bytes {least - 1}: the smallest takes"):
        prepare(*arguments, Goal(target_ratio=1.0, max_bytes=least - 1), QUESTIONS)
    fastest = objective.latency(fastest_plan(objective)).generation_ms
    with pytest.raises(
        InfeasibleTargetError, match=rf"no plan within {least} bytes meets .* binds"
    ):
        prepare(*arguments, Goal(target_ms=fastest, max_bytes=least), QUESTIONS)


def test_the_fastest_plan_within_bytes_is_exact(objective):
    limited = objective.with_goal(max_bytes=int(1.5 * smallest_bytes(objective)))
    plan = fastest_plan(limited)
    parameters = objective.space.parameters()
    every = (
        objective.space.plan(dict(zip(parameters, choice, strict=True)))
        for choice in itertools.product(*(range(len(c)) for c in parameters.values()))
    )
    some = [
        p
        for p in itertools.islice(every, 0, None, 3)
        if size_bytes(objective.denoiser, p) <= limited.max_bytes
    ]
    assert size_bytes(objective.denoiser, plan) <= limited.max_bytes
    best = objective.latency(plan).generation_ms
    assert len(some) > 10
    assert best <= min(objective.latency(p).generation_ms for p in some) + 1e-9


def test_what_was_found_out_serves_every_goal(objective):
    other = objective.with_target_ms(2 * objective.target_ms)
    assert other.times is objective.times and other.weights is objective.weights
    assert other.target_ms == 2 * objective.target_ms


def smallest_bytes(objective):
    return size_bytes(objective.denoiser, CompressionPlan.uniform(2, "w4", "w4", head="w4"))


@pytest.mark.parametrize("sampler", ["additive", "tpe", "gp", "nsga2", "cmaes", "random"])
def test_every_sampler_by_name_meets_the_target(objective, tmp_path, sampler):
    storage = str(tmp_path / "s.db")
    study = run_study(objective, trials=14, name="s", storage=storage, sampler=sampler)
    assert len(study.frame()) == 14
    assert study.feasible()["loss"].iloc[0] <= study.feasible(uniform=True)["loss"].iloc[0]


def test_the_whole_front_as_two_objectives(objective, tmp_path):
    both = objective.with_goal(objective=ObjectiveKind.FRONT)
    study = run_study(both, trials=30, name="s", storage=str(tmp_path / "s.db"))
    assert len(study.optuna.directions) == 2
    front = study.front()
    assert front["generation_ms"].max() > both.target_ms > front["generation_ms"].min()
    assert len(front) > 5
    with pytest.raises(InputError, match="created with objective front, not loss"):
        run_study(objective, trials=31, name="s", storage=str(tmp_path / "s.db"))
    with pytest.raises(InputError, match='"cmaes" takes one objective'):
        run_study(both, trials=1, name="c", storage=str(tmp_path / "s.db"), sampler="cmaes")


def test_coarse_trials_are_taken_over_and_not_tried_again(objective, tmp_path):
    tied = dataclasses.replace(objective, space=coarse(objective, "tied"))
    storage = str(tmp_path / "s.db")
    first = run_study(tied, trials=12, name="tied", storage=storage)
    tried = []
    watched = dataclasses.replace(objective)
    object.__setattr__(watched, "loss_function", Watched(objective.loss_function, tried))
    fine = run_study(watched, trials=18, name="free", storage=storage, refine=first)
    assert len(fine.frame()) == 18
    assert len(tried) == 18 - len(first.frame()) + RUNS, "and those that measure the loss's noise"
    assert set(first.frame()["plan"]) < set(fine.frame()["plan"])
    assert fine.feasible()["loss"].iloc[0] <= first.feasible()["loss"].iloc[0]
    with pytest.raises(StudyError, match=r"cannot be refined: its trial .* not in the new space"):
        narrow = objective.space.model_copy(update={"thresholds": (1.0,)})
        smaller = dataclasses.replace(objective, space=narrow)
        run_study(smaller, trials=1, name="back", storage=storage, refine=fine)


class Watched:
    """A loss that counts what it is asked."""

    name, cost = "kl", 0.0

    def __init__(self, loss_function, calls):
        self.loss_function, self.calls = loss_function, calls

    def loss(self, network, kept_shares):
        self.calls.append(kept_shares)
        return self.loss_function.loss(network, kept_shares)


def coarse(objective, groups):
    return objective.space.model_copy(update={"groups": groups})


def test_same_seed_same_storage_one_worker_gives_the_same_front(objective, tmp_path):
    fronts = [
        run_study(objective, trials=24, name=name, storage=str(tmp_path / "s.db"), seed=3).front()
        for name in ("once", "twice")
    ]
    assert fronts[0][["loss", "plan"]].equals(fronts[1][["loss", "plan"]])


def test_sqlite_commits_to_its_log_without_waiting_for_the_disk(tmp_path):
    with open_storage(f"sqlite:///{tmp_path / 'study.db'}").engine.connect() as connection:
        modes = [
            connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous")
        ]
    assert modes == ["wal", 1]


def test_a_search_whose_plans_round_by_calibration_judges_and_expects_them_so(tmp_path):
    denoiser = tiny_denoiser()
    device = formula_device(denoiser.geometry, WORK)
    identities, losses, expected = [], [], []
    for rounding in ("nearest", "calibrated"):
        space = SearchSpace(num_layers=2, thresholds=(1.0,), rounding=rounding)
        objective = prepare(denoiser, space, device, WORK, Goal(target_ratio=0.8), QUESTIONS)
        storage = str(tmp_path / f"{rounding}.db")
        study = run_study(objective, trials=6, name=rounding, storage=storage)
        assert {plan.rounding for plan in map(study.plan, range(1, 3))} == {rounding}
        identities.append(identity(objective))
        losses.append(objective.loss(next(p for p in space.uniform_plans() if p.head == "w4")))
        expected.append(study.record.sensitivities["layers"][0]["mlp"]["w4"])
    assert identities[0] != identities[1]
    assert losses[1] != losses[0]
    assert expected[1] != expected[0]
