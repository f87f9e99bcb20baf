"""One profile command, and plans with fewer heads and channels can be predicted."""

import pytest

from hwsearch.decoding.kept import KeptPlan
from hwsearch.errors import InputError, MissingShapeError
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.machine import wanted_operators
from hwsearch.jobs.profiling.onnxruntime import profile_machine
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.timing.operator_times import Kept
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser
from tests.denoisers.test_own import character_denoiser
from tests.latency.prediction.test_pruned_sizes import WORK

BRIEF = Effort(threads=1, rounds=1, sessions=1, mixed_plans=2)


@pytest.mark.slow
def test_pruned_sizes_are_timed_and_calibrated_with_the_others(tmp_path):
    denoiser = tiny_denoiser()
    plan = CompressionPlan.uniform(2, kept_heads=1, kept_channels=64, mlp="w8a8")
    made = {"workload": WORK, "effort": BRIEF}
    device = profile_machine(denoiser, "box", tmp_path, **made)
    with pytest.raises(MissingShapeError, match=r"--kept-(heads|channels) 0\.5$"):
        Predictor(device, denoiser.geometry, WORK).predict(KeptPlan.keeping_all(plan))
    before = len(device.table.samples)
    more = profile_machine(denoiser, "box", tmp_path, kept=Kept((0.5,), (0.5,)), **made)
    assert len(more.table.samples) > before
    predictor = Predictor(more, denoiser.geometry, WORK, more.info.calibration("tiny"))
    assert predictor.predict(KeptPlan.keeping_all(plan)).generation_ms > 0
    assert predictor.calibration.refresh.plans == 4 + 2


def test_sizes_are_asked_of_models_that_have_them(tmp_path):
    few = wanted_operators("gsm-mini", None, 27)
    more = wanted_operators("gsm-mini", None, 27, Kept((0.6,), (0.5,)))
    assert set(few) < set(more)
    with pytest.raises(InputError, match="no heads and channels that hwsearch knows of"):
        profile_machine(
            character_denoiser(), "box", tmp_path, workload=WORK, kept=Kept((0.5,)), effort=BRIEF
        )
