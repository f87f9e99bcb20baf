"""From coarse to fine in one command."""

import dataclasses
from collections import Counter

import optuna
import pytest

from hwsearch.errors import StudyError
from hwsearch.latency.devices.device import Device
from hwsearch.study import Goal, SearchSpace, prepare
from hwsearch.study.early_stopping import EarlyStopping
from hwsearch.study.objective import Objective
from hwsearch.study.records.study import ended
from hwsearch.study.refinement import run_refined
from hwsearch.study.settings import StudySpec
from hwsearch.study.storage.databases import open_storage
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.study.test_run import QUESTIONS, WORK


@pytest.fixture(scope="module")
def objective():
    denoiser = tiny_denoiser(layers=4)
    device: Device = formula_device(denoiser.geometry, WORK)
    space = SearchSpace(num_layers=4, thresholds=(1.0, 0.5), formats=("fp32", "w8a8", "w4"))
    return prepare(denoiser, space, device, WORK, Goal(target_ratio=0.6), QUESTIONS)


@pytest.fixture
def judged(monkeypatch):
    """Every plan whose loss was computed, whole or in part."""
    plans, real = Counter(), Objective.by_state

    def by_state(self, plan):
        plans[plan] += 1
        return real(self, plan)

    def loss(self, plan):
        *_, last = self.by_state(plan)
        return last.so_far

    monkeypatch.setattr(Objective, "by_state", by_state)
    monkeypatch.setattr(Objective, "loss", loss)
    return plans


@pytest.mark.parametrize("early", [EarlyStopping(), EarlyStopping("wilcoxon", 0.3)])
def test_no_plan_is_tried_twice_from_tied_to_free(objective, tmp_path, judged, early):
    objective = dataclasses.replace(objective, early=early)
    storage = str(tmp_path / "s.db")
    study = run_refined(objective, trials=40, name="s", storage=storage)
    assert len(ended(study.optuna)) == 40 == len(judged)
    assert set(judged.values()) == {1}
    assert study.space.groups == "free"
    names = optuna.get_all_study_names(open_storage(f"sqlite:///{storage}"))
    assert set(names) == {"s", "s-tied", "s-thirds"}
    again = run_refined(objective, trials=48, name="s", storage=storage)
    assert len(ended(again.optuna)) == 48 == len(judged)
    assert set(judged.values()) == {1}


def test_a_refinement_that_was_cut_off_goes_on(objective, tmp_path, judged):
    storage = str(tmp_path / "s.db")

    def cut(count):
        if count == 26:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_refined(objective, trials=40, name="s", storage=storage, on_trial=cut)
    study = run_refined(objective, trials=40, name="s", storage=storage)
    assert len(ended(study.optuna)) == 40
    assert set(judged.values()) == {1}


def test_two_ways_to_refine_contradict():
    flags = {"model": "m", "device": "d", "target_ms": 1.0, "groups": "refine"}
    assert StudySpec.resolve(None, flags).space.groups == "refine"
    with pytest.raises(StudyError, match='groups = "refine" begins; give one'):
        StudySpec.resolve(None, {**flags, "refine": "coarse"})
