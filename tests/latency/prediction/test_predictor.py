import itertools
import math
import random

import numpy as np
import pytest

from hwsearch.decoding.kept import KeptPlan
from hwsearch.decoding.pass_counts import PassCounts, PassPlace
from hwsearch.decoding.passes import PassKind, PassShape
from hwsearch.errors import InputError, MissingShapeError, PlanError
from hwsearch.jobs.prediction import where
from hwsearch.latency.devices.device import Calibration, Device, Line
from hwsearch.latency.devices.roofline import FormatRate, Roofline
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import (
    OpKey,
    Workload,
    pass_operators,
    refresh_operators,
    step_operators,
)
from hwsearch.latency.prediction.energy import arithmetic
from hwsearch.latency.prediction.pass_sums import PassLines
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.prediction.roofline_fit import fit_table
from hwsearch.latency.timing.operator_times import operators_of
from hwsearch.plan import LINEAR_GROUPS, CompressionPlan, Decoding, LayerPlan, WeightFormat
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
                **{group: rng.choice(formats) for group in LINEAR_GROUPS},
            )
            for _ in range(3)
        ),
        head=rng.choice(formats),
    )


def shares_of(plan):
    return [SHARES[layer.sink_threshold] for layer in plan.layers]


def test_operators_of_a_pass_by_hand():
    plan = CompressionPlan.uniform(3, "w8a8", "w4", 0.5, head="w8")
    refresh = refresh_operators(GEOMETRY, KeptPlan.drawn(plan, (0.4,) * 3), WORK)
    step = step_operators(GEOMETRY, KeptPlan.drawn(plan, (0.4,) * 3), WORK)
    by_kind = {(key.kind, key.rows, key.in_features, key.format): n for key, n in step.items()}
    # 16 positions outside the block, 40 % of them kept: 7 cached keys and the block's own 4
    assert by_kind["attention", 4, 11, "fp32"] == 3
    assert by_kind["linear", 4, 64, "w8a8"] + by_kind["linear", 4, 64, "w4"] >= 3
    assert sum(n for key, n in refresh.items() if key.kind == "attention-mass") == 3
    assert sum(n for key, n in refresh.items() if key.kind == "linear") == 3 * 4 + 1
    # the last norm runs on the rows that are predicted
    norms = {key.rows: n for key, n in refresh.items() if key.kind == "norm"}
    assert norms == {20: 6, 4: 1}


def test_time_of_a_plan_with_down_apart_is_a_sum_by_hand(device):
    together = CompressionPlan.uniform(3, "w8a8", "w8a8")
    layers = (together.layers[0].model_copy(update={"down": WeightFormat.W8}), *together.layers[1:])
    apart = together.model_copy(update={"layers": layers})
    predictor = Predictor(device, GEOMETRY, WORK)
    found = [predictor.predict(KeptPlan.keeping_all(plan)) for plan in (together, apart)]
    inner, hidden = GEOMETRY.intermediate_size, GEOMETRY.hidden_size
    # a refresh runs all 20 positions, a step the block of 4; the other products stay as they were
    refresh, step = (
        device.costs.cost_us(OpKey("linear", rows, inner, hidden, format="w8"))
        - device.costs.cost_us(OpKey("linear", rows, inner, hidden, format="w8a8"))
        for rows in (20, 4)
    )
    assert found[1].refresh_ms - found[0].refresh_ms == pytest.approx(refresh / 1e3)
    assert found[1].step_ms - found[0].step_ms == pytest.approx(step / 1e3)
    more = found[1].generation_ms - found[0].generation_ms
    assert more == pytest.approx((4 * refresh + 4 * step) / 1e3)
    counts = step_operators(GEOMETRY, KeptPlan.keeping_all(apart), WORK)
    assert sum(count for key, count in counts.items() if key.format == "w8") == 1


def test_layers_are_priced_by_short_forms_unless_any_of_them_tells_the_two_apart(device):
    """So sums of plans of before stay as they were, and one operator has one error in all layers."""
    predictor = Predictor(device, GEOMETRY, WORK)
    apart = {"mlp": "w8a8", "down": "w8"}
    for layers, parts in (
        ([{}, {"mlp": "w8"}, {}], {"attention", "mlp", "kept"}),
        ([{}, apart, {}], {"attention", "gate_up", "down", "kept"}),
    ):
        plan = KeptPlan.keeping_all(CompressionPlan.validate({"layers": layers}))
        assert [{choice.part for choice in layer} for layer in predictor.choices(plan)] == [
            parts
        ] * 3
        alone = [predictor.layer_ms(layer, 1.0) for layer in plan.plan.layers]
        assert predictor.layers_ms(plan) == pytest.approx(alone)


def test_a_layer_that_keeps_all_needs_no_mass():
    plan = CompressionPlan.uniform(3)
    refresh = refresh_operators(GEOMETRY, KeptPlan.drawn(plan, (1.0, 0.4, 1.0)), WORK)
    assert sum(n for key, n in refresh.items() if key.kind == "attention-mass") == 1
    assert sum(n for key, n in refresh.items() if key.kind == "attention") == 2


def test_generation_is_the_sum_of_its_passes(device):
    predictor = Predictor(device, GEOMETRY, WORK)
    latency = predictor.predict(KeptPlan.keeping_all(CompressionPlan.uniform(3)))
    assert latency.generation_ms == pytest.approx(4 * latency.refresh_ms + 4 * latency.step_ms)


def test_calibration_is_applied_to_each_pass(device):
    flat = Line(intercept_ms=1.0, slope=2.0, mape=0.0, plans=2)
    calibration = Calibration(model="tiny", refresh=flat, step=flat)
    plain = Predictor(device, GEOMETRY, WORK).predict(
        KeptPlan.keeping_all(CompressionPlan.uniform(3))
    )
    lined = Predictor(device, GEOMETRY, WORK, calibration)
    found = lined.predict(KeptPlan.keeping_all(CompressionPlan.uniform(3)))
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
        offsets.append(
            predictor.predict(KeptPlan.drawn(same_head, shares_of(plan))).generation_ms - layers
        )
    assert max(offsets) == pytest.approx(min(offsets))


def test_fewer_kept_positions_make_steps_quicker(device):
    predictor = Predictor(device, GEOMETRY, WORK)
    plan = CompressionPlan.uniform(3)
    all_kept, few = (
        predictor.predict(KeptPlan.keeping_all(plan)),
        predictor.predict(KeptPlan.drawn(plan, (0.3,) * 3)),
    )
    assert few.step_ms < all_kept.step_ms


def test_percentiles_carry_the_scatter_of_the_calibration_and_of_the_operators(device):
    line = Line(intercept_ms=0.0, slope=1.0, mape=0.0, plans=12, scatter=0.05)
    calibration = Calibration(model="tiny", refresh=line, step=line, generation=line)
    plan = KeptPlan.keeping_all(CompressionPlan.uniform(3))
    found = Predictor(device, GEOMETRY, WORK, calibration).predict(plan)
    low, high = found.intervals_ms.generation
    # Student's t of ten degrees of freedom, and the line's own error
    assert high / found.generation_ms == pytest.approx(
        math.exp(1.372 * 0.05 * math.sqrt(13 / 12)), 1e-4
    )
    assert low * high == pytest.approx(found.generation_ms**2)
    noisy = {
        key: tuple((share * us,) for share in (0.8, 1.0, 1.2))
        for key, ((us, *_),) in device.table.samples.items()
    }
    shaky = Device(device.info, LatencyTable(noisy), device.folder)
    wider = Predictor(shaky, GEOMETRY, WORK, calibration).predict(plan)
    assert wider.intervals_ms.generation[1] > high * 1.01


def test_without_anything_to_hold_it_against_there_are_no_percentiles(device):
    plan = CompressionPlan.uniform(3)
    assert (
        Predictor(device, GEOMETRY, WORK).predict(KeptPlan.keeping_all(plan)).intervals_ms is None
    )


def test_what_a_generation_is_spent_on_adds_up(device):
    lines = [Line(intercept_ms=0.1 * n, slope=1.0 + 0.1 * n, mape=0.0, plans=3) for n in range(3)]
    calibration = Calibration(model="t", refresh=lines[0], step=lines[1], generation=lines[2])
    predictor = Predictor(device, GEOMETRY, WORK, calibration)
    plan = random_plan(random.Random(1))
    parts = where(predictor, KeptPlan.drawn(plan, shares_of(plan)))
    total = predictor.predict(KeptPlan.drawn(plan, shares_of(plan))).generation_ms
    assert sum(part["ms"] for part in parts.values()) == pytest.approx(total)
    layers = sum(map(predictor.layer_ms, plan.layers, shares_of(plan)))
    found = sum(parts[name]["ms"] for name in ("projections", "attention", "mlp"))
    assert found == pytest.approx(layers)
    assert parts["head"]["ms"] == pytest.approx(predictor.head_ms(plan.head))


def test_a_table_tells_what_binds():
    """Costs of a known roofline, so the fit must find its numbers again."""
    known = Roofline(
        bandwidth_gbps=20.0,
        operator_us=2.0,
        rates={
            fmt: FormatRate(stands_for=fmt, bytes_per_weight=size, tflops=rate)
            for fmt, size, rate in (("fp32", 4.0, 0.05), ("w8a8", 1.0, 0.2))
        },
    )
    keys = [key for key in operators_of(GEOMETRY, WORK) if key.format in ("fp32", "w8a8")]
    found = fit_table(LatencyTable({key: ((known.cost_us(key),),) for key in keys}))
    assert found.bandwidth_gbps == pytest.approx(20.0, rel=1e-3)
    assert found.operator_us == pytest.approx(2.0, rel=1e-3)
    assert found.rates["w8a8"].tflops == pytest.approx(0.2, rel=1e-3)


def test_arithmetic_energy_compares_formats_and_is_labelled(device):
    predictor = Predictor(device, GEOMETRY, WORK)
    shares = {}
    for fmt in ("fp32", "w8a8", "w4"):
        plan = CompressionPlan.uniform(3, fmt, fmt, head=fmt)
        found = arithmetic(predictor, KeptPlan.keeping_all(plan))
        assert "only to compare formats" in found["label"]
        shares[fmt] = found["share_of_uncompressed"]
    assert shares["fp32"] == pytest.approx(1.0)
    assert shares["w4"] < shares["w8a8"] < 0.9


def test_energy_of_a_device_without_power_is_refused(device):
    with pytest.raises(InputError, match=r"formula has no \[power\]"):
        Predictor(device, GEOMETRY, WORK).energy_j(KeptPlan.keeping_all(CompressionPlan.uniform(3)))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kept_heads": 3}, "layer 0: kept_heads must be at most 2; got 3"),
        ({"kept_channels": 129}, "layer 0: kept_channels must be at most 128; got 129"),
    ],
)
def test_more_than_there_is_cannot_be_kept(device, changes, said):
    plan = CompressionPlan.uniform(3, **changes)
    with pytest.raises(PlanError, match=said):
        Predictor(device, GEOMETRY, WORK).predict(KeptPlan.drawn(plan, shares_of(plan)))


def test_a_pruned_size_that_was_not_timed_is_named_with_its_option(device):
    predictor = Predictor(device, GEOMETRY, WORK)
    with pytest.raises(MissingShapeError, match=r"hwsearch profile .* --kept-heads 0\.5$"):
        predictor.predict(KeptPlan.keeping_all(CompressionPlan.uniform(3, kept_heads=1)))
    with pytest.raises(MissingShapeError, match=r"hwsearch profile .* --kept-channels 0\.25$"):
        predictor.predict(KeptPlan.keeping_all(CompressionPlan.uniform(3, kept_channels=32)))


def test_zeroed_weights_and_an_unused_rule_cost_what_they_cost(device):
    plain, other = CompressionPlan.uniform(3), CompressionPlan.uniform(3, sparsity=0.5)
    unused = CompressionPlan.uniform(3, cache={"rule": "recent"})
    predictor = Predictor(device, GEOMETRY, WORK)
    times = {
        predictor.predict(KeptPlan.keeping_all(plan)).generation_ms
        for plan in (plain, other, unused)
    }
    assert len(times) == 1


@pytest.mark.parametrize(
    "changes", [{"commit": {"policy": "threshold"}}, {"stop_at_end": True}], ids=str
)
def test_what_depends_on_the_text_is_not_guessed(device, changes):
    work = Workload(12, WORK.decoding.changed(changes))
    with pytest.raises(InputError, match=r"depends on the text .*: count them") as error:
        Predictor(device, GEOMETRY, work)
    assert len(str(error.value).splitlines()) == 1


THRESHOLD = WORK.decoding.changed({"commit": {"policy": "threshold"}, "window": {"advance": True}})
COUNTS = PassCounts(
    THRESHOLD,
    (
        PassPlace(0, PassKind.REFRESH),
        PassPlace(0, PassKind.STEP),
        PassPlace(4, PassKind.ADVANCE),
        PassPlace(4, PassKind.STEP),
    ),
    ((1, 2, 1, 1), (1, 0, 1, 3), (1, 1, 0, 0)),
    (1.0, 4 / 3),
    (8, 7, 3),
)


def test_counted_passes_are_a_sum_over_their_shapes(device):
    plan = CompressionPlan.uniform(3, "w8a8", "w8")
    drawn = KeptPlan.drawn(plan, (1.0, 0.4, 1.0))
    predictor = Predictor(device, GEOMETRY, WORK)
    found = predictor.given(COUNTS).predict(drawn)
    times = {}
    for kind, rows in ((PassKind.REFRESH, 20), (PassKind.STEP, 4), (PassKind.ADVANCE, 8)):
        operators = pass_operators(GEOMETRY, drawn, PassShape(kind, rows, 20, 4))
        times[kind] = sum(n * device.costs.cost_us(key) for key, n in operators.items()) / 1e3
    refresh, advance, step = (times[kind] for kind in PassKind)
    each = [refresh + 3 * step + advance, refresh + advance + 3 * step, refresh + step]
    assert found.generation_ms == pytest.approx(sum(each) / 3)
    assert found.refresh_ms == pytest.approx(refresh)
    assert found.step_ms == pytest.approx((7 * step + 2 * advance) / 9)
    assert found.problems_ms == pytest.approx(tuple(np.percentile(each, (10, 90))))
    assert found.passes == {
        PassKind.REFRESH: 1.0,
        PassKind.ADVANCE: pytest.approx(2 / 3),
        PassKind.STEP: pytest.approx(7 / 3),
    }
    assert found.tokens_per_pass == pytest.approx(6 / 4)
    assert found.tokens_per_second == pytest.approx(6e3 / found.generation_ms)
    # what the first predictor predicts is as it was
    assert predictor.predict(drawn).passes[PassKind.ADVANCE] == 0


def test_what_lies_between_passes_is_shared_out_among_them(device):
    def line(intercept_ms, slope):
        return Line(intercept_ms=intercept_ms, slope=slope, mape=0.01, plans=8)

    lines = Calibration(
        model="m", refresh=line(0.0, 1.0), step=line(0.0, 1.0), generation=line(4.0, 1.5), passes=8
    )
    plan = KeptPlan.keeping_all(CompressionPlan.uniform(3))
    plain = Predictor(device, GEOMETRY, WORK).given(COUNTS).predict(plan)
    found = Predictor(device, GEOMETRY, WORK, lines).given(COUNTS).predict(plan)
    assert found.generation_ms == pytest.approx(4.0 * 4 / 8 + 1.5 * plain.generation_ms)
    assert (
        sum(Predictor(device, GEOMETRY, WORK, lines).given(COUNTS).layers_ms(plan))
        < found.generation_ms
    )


def test_a_pass_of_other_rows_has_a_line_between_the_two(device):
    def line(slope, **factors):
        return Line(intercept_ms=1.0, slope=slope, mape=0.01, plans=8, **factors)

    lines = Calibration(model="m", refresh=line(1.0), step=line(2.0))
    found = PassLines(WORK, lines)
    at = [found.weight(PassShape(PassKind.ADVANCE, rows, 20, 4), None) for rows in (4, 8, 20)]
    assert at == [2.0, pytest.approx(2.0 - math.log(2) / math.log(5)), 1.0]


def test_counts_survive_being_written_down():
    assert PassCounts.read(THRESHOLD, COUNTS.document()) == COUNTS
