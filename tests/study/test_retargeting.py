"""Another target for a finished study."""

import pytest

from hwsearch.errors import InfeasibleTargetError, InputError, StudyError
from hwsearch.study import Goal, load_study, resolve
from hwsearch.study.objective import Objective
from hwsearch.study.run import run_study
from tests.study.test_run import make_objective


@pytest.fixture(scope="module")
def objective():
    return make_objective(Goal(target_ratio=0.6))


@pytest.fixture(scope="module")
def study(objective, tmp_path_factory):
    storage = str(tmp_path_factory.mktemp("study") / "s.db")
    run_study(objective, trials=30, name="s", storage=storage)
    return load_study("s", storage)


@pytest.fixture
def no_evaluation(monkeypatch):
    def fail(*_):
        raise AssertionError("a loss was evaluated")

    monkeypatch.setattr(Objective, "loss", fail)
    monkeypatch.setattr(Objective, "latency", fail)


@pytest.mark.parametrize("ratio", [0.45, 0.5, 0.6, 0.75, 0.9, 2.0])
def test_the_answer_meets_the_target_and_says_what_its_loss_is(
    objective, study, no_evaluation, ratio, monkeypatch
):
    target_ms = ratio / 0.6 * study.target_ms
    found = resolve(study, target_ms)
    assert found.generation_ms <= target_ms
    assert found.uniform_loss is None or found.loss <= found.uniform_loss
    tried = {
        plan: (number, loss)
        for number, loss, plan in study.frame()[["number", "loss", "plan"]].values
    }
    if found.trial is None:
        assert (found.loss_is, found.plan in tried) == ("predicted", False)
        assert found.spread > 0
    else:
        assert found.loss_is == "evaluated"
        assert tried[found.plan] == (found.trial, found.loss)
    monkeypatch.undo()
    assert objective.latency(found.plan).generation_ms == pytest.approx(found.generation_ms)


def test_a_predicted_loss_is_near_the_true_one(objective, study):
    found = [resolve(study, ratio / 0.6 * study.target_ms) for ratio in (0.45, 0.7, 0.8, 0.9)]
    predicted = [answer for answer in found if answer.trial is None]
    assert predicted, "raise the targets: nothing was predicted"
    largest = study.frame()["loss"].max()
    for answer in predicted:
        assert answer.loss == pytest.approx(objective.loss(answer.plan), abs=0.05 * largest)


def test_the_study_s_own_target_gives_its_best_plan_or_a_better_one(study):
    found = resolve(study, study.target_ms)
    assert found.loss <= study.feasible()["loss"].iloc[0]


def test_a_limit_of_bytes_still_holds(objective, tmp_path):
    smallest = min(objective.sizes()["head"].values())
    limited = objective.with_goal(max_bytes=int(objective_bytes(objective) * 0.6))
    assert smallest < 0
    study = run_study(limited, trials=25, name="s", storage=str(tmp_path / "s.db"))
    frame = study.frame()
    assert frame[frame["feasible"]]["size_bytes"].max() <= limited.max_bytes
    assert study.front()["size_bytes"].max() <= limited.max_bytes
    for ratio in (0.5, 0.8):
        found = resolve(study, ratio / 0.6 * study.target_ms)
        assert found.size_bytes <= limited.max_bytes


def objective_bytes(objective):
    from hwsearch.study.objective import size_bytes

    return size_bytes(objective.denoiser, objective.first)


def test_an_impossible_target_names_the_fastest_and_what_binds(study):
    with pytest.raises(
        InfeasibleTargetError, match=r"the fastest takes .* ms.*binds: .*layer\d"
    ) as e:
        resolve(study, 1e-6)
    assert e.value.exit_code == 1
    with pytest.raises(InputError, match="larger than 0; got 0"):
        resolve(study, 0)


def test_a_study_without_costs_says_how_to_get_them(study, monkeypatch):
    monkeypatch.setattr(
        type(study.optuna),
        "user_attrs",
        {k: v for k, v in study.optuna.user_attrs.items() if k != "costs"},
    )
    with pytest.raises(StudyError, match="does not keep its costs: run hwsearch search"):
        resolve(study, 1.0)
