"""Both predictors answer what `LatencyPredictor` asks, and agree with themselves."""

from dataclasses import replace
from pathlib import Path

import pytest

from hwsearch.decoding.kept import KeptPlan
from hwsearch.denoisers.network import linear_sizes
from hwsearch.errors import InputError
from hwsearch.formats.catalog import USUAL_FORMATS
from hwsearch.latency.devices.device import Calibration, Device, Line, Power
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import Workload
from hwsearch.latency.prediction.full_pass import FullPassPredictor, full_pass_keys, predictor_of
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.plan import CompressionPlan
from hwsearch.testing.device import formula_device, formula_us
from hwsearch.testing.tiny import tiny_denoiser
from tests.denoisers.test_own import character_denoiser

LINES = Calibration(
    model="m",
    refresh=Line(intercept_ms=0.2, slope=1.3, mape=0.01, plans=9),
    step=Line(intercept_ms=0.1, slope=1.1, mape=0.01, plans=9),
    generation=Line(intercept_ms=0.4, slope=1.05, mape=0.01, plans=9),
)
POWER = Power(watts=4.0, scope="a formula", source="this test")


def with_power(device):
    return replace(device, info=device.info.model_copy(update={"power": POWER}))


def cached():
    denoiser = tiny_denoiser()
    return denoiser, formula_device(denoiser.geometry, Workload(9, denoiser.decoding))


def full():
    denoiser = character_denoiser()
    work = Workload(9, denoiser.decoding)
    keys = full_pass_keys(linear_sizes(denoiser.network), work, USUAL_FORMATS)
    plain = formula_device(tiny_denoiser().geometry, work)
    table = LatencyTable({key: ((formula_us(key),),) for key in keys})
    return denoiser, Device(plain.info, table, Path("own"))


@pytest.fixture(params=[cached, full], ids=["cached passes", "full passes"])
def made(request):
    denoiser, device = request.param()
    work = Workload(9, denoiser.decoding)
    return denoiser, predictor_of(with_power(device), denoiser, work, LINES)


def plans(denoiser):
    layers = denoiser.num_layers
    return [
        KeptPlan.keeping_all(CompressionPlan.uniform(layers, a, m, head=h))
        for a, m, h in (("fp32", "fp32", "fp32"), ("w8a8", "fp32", "w4"), ("w4", "w8", "fp32"))
    ]


def test_the_kind_of_model_decides(made):
    denoiser, predictor = made
    kind = Predictor if denoiser.is_cached else FullPassPredictor
    assert type(predictor) is kind and not issubclass(FullPassPredictor, Predictor)
    assert predictor.workload.prompt_length == 9 and predictor.calibration is LINES


def test_layers_add_up_to_what_plans_of_one_head_differ_by(made):
    denoiser, predictor = made
    base, *others = (
        KeptPlan.keeping_all(plan.plan.model_copy(update={"head": plans(denoiser)[0].plan.head}))
        for plan in plans(denoiser)
    )
    for other in others:
        whole = predictor.predict(other).generation_ms - predictor.predict(base).generation_ms
        layers = sum(predictor.layers_ms(other)) - sum(predictor.layers_ms(base))
        assert layers == pytest.approx(whole, rel=1e-9)


def test_times_follow_from_sums_by_the_lines(made):
    denoiser, predictor = made
    for plan in plans(denoiser):
        refresh, step = predictor.sums_ms(plan)
        found = predictor.predict(plan)
        assert found.refresh_ms == pytest.approx(0.2 + 1.3 * sum(refresh.values()))
        line = LINES.step if denoiser.is_cached else LINES.refresh
        assert found.step_ms == pytest.approx(line.of(step))
        decoding = predictor.workload.decoding
        passes = decoding.refreshes * found.refresh_ms
        passes += (decoding.steps - decoding.refreshes) * found.step_ms
        assert found.generation_ms == pytest.approx(0.4 + 1.05 * passes)
        assert found.generation_joules == pytest.approx(4.0 * found.generation_ms / 1e3)
        assert predictor.energy_j(plan) == pytest.approx(found.generation_joules)
        low, high = found.intervals_ms.generation
        assert low < found.generation_ms < high


def test_what_binds_is_told_where_it_is_known(made):
    denoiser, predictor = made
    binding = predictor.binding(plans(denoiser)[0])
    assert (binding is None) == (not denoiser.is_cached)


def test_energy_needs_power_of_either(made):
    denoiser, predictor = made
    device = replace(
        predictor.device, info=predictor.device.info.model_copy(update={"power": None})
    )
    silent = predictor_of(device, denoiser, predictor.workload, LINES)
    assert silent.predict(plans(denoiser)[0]).generation_joules is None
    with pytest.raises(InputError, match="energy is unknown"):
        silent.energy_j(plans(denoiser)[0])
