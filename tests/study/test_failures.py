"""A study ends, whatever its plans do; what has no loss is on no front."""

import dataclasses
import math

import pytest

from hwsearch.errors import InputError, StudyError
from hwsearch.plan import WeightFormat
from hwsearch.study import Goal, ObjectiveKind, prepare
from hwsearch.study.early_stopping import EarlyStopping
from hwsearch.study.preparation import check_own_loss
from hwsearch.study.run import run_study
from hwsearch.tasks.losses.by_state import StateLoss
from tests.study.test_run import QUESTIONS, make_objective


@pytest.fixture(autouse=True)
def unmeasured_noise(monkeypatch):
    """Trials are counted here by evaluations, of which measuring noise takes some more."""
    monkeypatch.setattr("hwsearch.study.run.record_noise", lambda study, objective: None)


@pytest.fixture(scope="module")
def objective():
    return make_objective(Goal(target_ratio=1.0))


class Spoilt:
    """A loss that is no number where `broken` says so of the call's number."""

    name, cost = "kl", 4.0

    def __init__(self, broken, value):
        self.broken, self.value, self.calls = broken, value, 0

    def loss(self, network, kept_shares):
        return [state.so_far for state in self.by_state(network, kept_shares)][-1]

    def by_state(self, network, kept_shares):
        self.calls += 1
        loss = self.value if self.broken(self.calls) else 0.01 * self.calls
        for number in range(4):
            yield StateLoss(loss if number else 0.0, 0.25, 1.0, loss if number else 0.0)


def spoilt(objective, broken, value, **fields):
    changed = dataclasses.replace(objective, **fields)
    object.__setattr__(changed, "loss_function", Spoilt(broken, value))
    return changed


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("kind", [ObjectiveKind.LOSS, ObjectiveKind.FRONT])
@pytest.mark.parametrize(
    "early", [EarlyStopping(), EarlyStopping("wilcoxon", 0.5)], ids=["whole", "early"]
)
def test_plans_without_a_loss_count_and_are_on_no_front(objective, tmp_path, value, kind, early):
    judged = objective.with_goal(objective=kind)
    some = spoilt(judged, lambda call: call % 3 == 0, value, early=early)
    study = run_study(some, trials=12, name="s", storage=str(tmp_path / "s.db"), sampler="random")
    assert some.loss_function.calls == 12
    assert set(study.failures) == {2, 5, 8, 11}
    assert all("no finite number" in reason for reason in study.failures.values())
    assert all(map(math.isfinite, study.front()["loss"]))
    assert not set(study.failures) & set(study.frame()["number"])
    assert math.isfinite(study.feasible()["loss"].iloc[0])
    again = run_study(some, trials=12, name="s", storage=str(tmp_path / "s.db"), sampler="random")
    assert some.loss_function.calls == 12, "failed trials are not tried again"
    assert again.failures == study.failures


@pytest.mark.parametrize("sampler", ["additive", "tpe", "gp", "nsga2", "cmaes", "random"])
def test_a_study_in_which_everything_fails_ends_and_says_so(objective, tmp_path, sampler):
    none = spoilt(objective, lambda call: True, math.nan)
    study = run_study(none, trials=12, name="s", storage=str(tmp_path / "s.db"), sampler=sampler)
    assert len(study.failures) == none.loss_function.calls == 12
    with pytest.raises(StudyError, match=r"12 of 12 failed; the last, trial 11: its loss is nan"):
        _ = study.best_plan
    assert study.front().empty


def test_an_infinite_loss_of_an_older_study_is_on_no_front(objective, tmp_path):
    study = run_study(
        objective, trials=9, name="s", storage=str(tmp_path / "s.db"), sampler="random"
    )
    worst = study.frame().iloc[-1]
    trial = study.optuna.get_trials()[int(worst["number"])]
    import optuna

    study.optuna.add_trial(
        optuna.create_trial(
            params=trial.params, distributions=trial.distributions, value=-math.inf,
            user_attrs=trial.user_attrs,
        )
    )  # fmt: skip
    assert len(study.frame()) == len(study.optuna.trials) - 1
    assert math.isfinite(study.front()["loss"].min())


def test_an_uncompressed_loss_that_is_no_number_is_told_before_any_trial(objective):
    with pytest.raises(InputError, match="its own loss, uncompressed, must be a finite number"):
        check_own_loss(spoilt(objective, lambda call: True, math.nan))
    device = objective.predictor.device
    with pytest.raises(InputError, match="loss 'kl' gives inf"):
        prepare(
            objective.denoiser, objective.space, device, objective.predictor.workload,
            Goal(target_ratio=1.0), QUESTIONS, Spoilt(lambda call: True, math.inf),
        )  # fmt: skip


def test_an_error_of_the_plan_itself_still_stops_the_search(objective, tmp_path):
    def raise_one(call):
        if call == 3:
            raise ValueError("the plan's own")
        return False

    one = spoilt(objective, raise_one, 0.0)
    with pytest.raises(ValueError, match="the plan's own"):
        run_study(one, trials=9, name="s", storage=str(tmp_path / "s.db"), sampler="random")
    assert WeightFormat.FP32 in objective.space.formats
