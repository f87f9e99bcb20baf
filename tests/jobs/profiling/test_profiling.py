"""One profile command, and plans with fewer heads and channels can be predicted."""

import pytest

from hwsearch.decoding.kept import KeptPlan
from hwsearch.errors import InputError, MissingShapeError
from hwsearch.jobs.profiling import whole_model_runs
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.machine import wanted_models, wanted_operators
from hwsearch.jobs.profiling.onnxruntime import profile_machine
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.timing import bundles
from hwsearch.latency.timing.operator_times import Kept, operators_of
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser
from tests.denoisers.test_own import character_denoiser
from tests.latency.prediction.test_pruned_sizes import WORK

BRIEF = Effort(threads=1, rounds=1, sessions=1, mixed_plans=2)


@pytest.fixture(autouse=True)
def short_samples(monkeypatch):
    """What is asked here is whether all is timed, not how well."""
    monkeypatch.setattr(bundles, "GENERATION_SECONDS", 0.005)
    monkeypatch.setattr(whole_model_runs, "FORECAST_ROUNDS", 1)


@pytest.mark.slow
def test_pruned_sizes_are_timed_and_calibrated_with_the_others(tmp_path):
    """The real timers, once: `test_machine_profiler` profiles a formula in all other ways."""
    denoiser = tiny_denoiser()
    plan = CompressionPlan.uniform(2, kept_heads=1, kept_channels=64, mlp="w8a8")
    plan, kept = KeptPlan.keeping_all(plan), Kept((0.5,), (0.5,))
    device = profile_machine(denoiser, "box", tmp_path, workload=WORK, effort=BRIEF, kept=kept)
    predictor = Predictor(device, denoiser.geometry, WORK, device.info.calibration("tiny"))
    assert predictor.predict(plan).generation_ms > 0
    assert predictor.calibration.refresh.plans == 4 + 2
    assert set(device.table.samples) == set(operators_of(denoiser.geometry, WORK, kept=kept))
    assert not (tmp_path / ".box.unfinished").exists()


def test_a_size_that_was_not_timed_is_asked_for_by_its_option():
    denoiser = tiny_denoiser()
    plan = CompressionPlan.uniform(2, kept_heads=1, kept_channels=64, mlp="w8a8")
    predictor = Predictor(formula_device(denoiser.geometry, WORK), denoiser.geometry, WORK)
    with pytest.raises(MissingShapeError, match=r"--kept-(heads|channels) 0\.5$"):
        predictor.predict(KeptPlan.keeping_all(plan))


def test_formats_are_timed_that_are_asked_for():
    formats = (WeightFormat.FP32, WeightFormat("w4-g128"))
    keys = wanted_operators("gsm-mini", None, 27, formats=formats)
    assert {key.format for key in keys if key.kind == "linear"} == {"fp32", "w4-g128"}
    plans = wanted_models("gsm-mini", None, 27, formats).plans
    used = {fmt for entry in plans for layer in entry.plan.layers for fmt in layer.formats.values()}
    assert used == set(formats), "a table has no times of others"


def test_sizes_are_asked_of_models_that_have_them(tmp_path):
    few = wanted_operators("gsm-mini", None, 27)
    more = wanted_operators("gsm-mini", None, 27, Kept((0.6,), (0.5,)))
    assert set(few) < set(more)
    with pytest.raises(InputError, match="no heads and channels that hwsearch knows of"):
        profile_machine(
            character_denoiser(), "box", tmp_path, workload=WORK, kept=Kept((0.5,)), effort=BRIEF
        )
