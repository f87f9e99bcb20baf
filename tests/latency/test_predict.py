import itertools
import random

import pytest

from hwsearch.latency.device import Calibration, Line
from hwsearch.latency.operators import Workload, refresh_operators, step_operators
from hwsearch.latency.predict import Predictor
from hwsearch.plan import CompressionPlan, Decoding, LayerPlan, WeightFormat
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_geometry

GEOMETRY = tiny_geometry(layers=3)
WORK = Workload(12, Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2))
SHARES = {1.0: 1.0, 0.5: 0.4}


@pytest.fixture(scope="module")
def device():
    return formula_device(GEOMETRY, WORK)


def random_plan(rng):
    formats = ["fp32", "w8a8", "w8", "w4"]
    return CompressionPlan(
        layers=tuple(
            LayerPlan(
                sink_threshold=rng.choice(list(SHARES)),
                attention=rng.choice(formats),
                mlp=rng.choice(formats),
            )
            for _ in range(3)
        ),
        head=rng.choice(formats),
    )


def shares_of(plan):
    return [SHARES[layer.sink_threshold] for layer in plan.layers]


def test_operators_of_a_pass_by_hand():
    plan = CompressionPlan.uniform(3, "w8a8", "w4", 0.5, head="w8")
    refresh = refresh_operators(GEOMETRY, plan, [0.4] * 3, WORK)
    step = step_operators(GEOMETRY, plan, [0.4] * 3, WORK)
    by_kind = {(key.kind, key.rows, key.in_features, key.format): n for key, n in step.items()}
    # 16 positions outside the block, 40 % of them kept: 7 cached keys and the block's own 4
    assert by_kind["attention", 4, 11, "fp32"] == 3
    assert by_kind["linear", 4, 64, "w8a8"] + by_kind["linear", 4, 64, "w4"] >= 3
    assert sum(n for key, n in refresh.items() if key.kind == "attention-mass") == 3
    assert sum(n for key, n in refresh.items() if key.kind == "linear") == 3 * 4 + 1
    # the last norm runs on the rows that are predicted
    norms = {key.rows: n for key, n in refresh.items() if key.kind == "norm"}
    assert norms == {20: 6, 4: 1}


def test_a_layer_that_keeps_all_needs_no_mass():
    plan = CompressionPlan.uniform(3)
    refresh = refresh_operators(GEOMETRY, plan, [1.0, 0.4, 1.0], WORK)
    assert sum(n for key, n in refresh.items() if key.kind == "attention-mass") == 1
    assert sum(n for key, n in refresh.items() if key.kind == "attention") == 2


def test_generation_is_the_sum_of_its_passes(device):
    predictor = Predictor(device, GEOMETRY, WORK)
    latency = predictor.predict(CompressionPlan.uniform(3), [1.0] * 3)
    assert latency.generation_ms == pytest.approx(4 * latency.refresh_ms + 4 * latency.step_ms)


def test_calibration_is_applied_to_each_pass(device):
    flat = Line(intercept_ms=1.0, slope=2.0, mape=0.0, plans=2)
    calibration = Calibration(model="tiny", refresh=flat, step=flat)
    plain = Predictor(device, GEOMETRY, WORK).predict(CompressionPlan.uniform(3), [1.0] * 3)
    lined = Predictor(device, GEOMETRY, WORK, calibration)
    found = lined.predict(CompressionPlan.uniform(3), [1.0] * 3)
    assert found.refresh_ms == pytest.approx(1 + 2 * plain.refresh_ms)
    assert found.generation_ms == pytest.approx(8 * 1.0 + 2 * plain.generation_ms)


def test_latency_is_additive_over_layers(device):
    line = Line(intercept_ms=0.3, slope=1.1, mape=0.0, plans=2)
    calibration = Calibration(model="tiny", refresh=line, step=line)
    predictor = Predictor(device, GEOMETRY, WORK, calibration)
    rng = random.Random(0)
    offsets = []
    for plan in itertools.islice(iter(lambda: random_plan(rng), None), 20):
        same_head = plan.model_copy(update={"head": WeightFormat.FP32})
        layers = sum(map(predictor.layer_ms, plan.layers, shares_of(plan)))
        offsets.append(predictor.predict(same_head, shares_of(plan)).generation_ms - layers)
    assert max(offsets) == pytest.approx(min(offsets))


def test_fewer_kept_positions_make_steps_quicker(device):
    predictor = Predictor(device, GEOMETRY, WORK)
    plan = CompressionPlan.uniform(3)
    all_kept, few = predictor.predict(plan, [1.0] * 3), predictor.predict(plan, [0.3] * 3)
    assert few.step_ms < all_kept.step_ms
