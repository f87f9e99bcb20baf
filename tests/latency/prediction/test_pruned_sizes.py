"""Operators and bytes of pruned layers, held against graphs that were really exported."""

from collections import Counter

import onnx
import pytest
from onnx import external_data_helper, numpy_helper

from hwsearch.bundle import Exporter
from hwsearch.compression import WeightBank, WeightCalibration, compress
from hwsearch.decoding.committing.schedule import passes
from hwsearch.decoding.kept import KeptPlan, KeptShares, Signal, StaticScores
from hwsearch.denoisers.accounting import layer_bytes, plan_bytes
from hwsearch.errors import PlanError
from hwsearch.latency.operators import (
    OpKey,
    Workload,
    generation_operators,
    refresh_operators,
    step_operators,
)
from hwsearch.latency.phases import Caching
from hwsearch.latency.prediction.calibration import MAGNITUDE
from hwsearch.latency.prediction.operator_sums import OperatorChoice
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.timing.operator_times import Kept, operators_of
from hwsearch.plan import CompressionPlan, Decoding, WeightFormat
from hwsearch.testing.device import formula_device
from hwsearch.testing.tiny import tiny_denoiser

WORK = Workload(9, Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2))
LAYERS = [
    {"kept_heads": 1, "sink_threshold": 0.5, "mlp": "w8a8"},
    {"kept_channels": 96, "attention": "w4"},
]


def plan_of(**cache):
    return CompressionPlan.validate({"layers": LAYERS, "pruning": MAGNITUDE, "cache": cache})


@pytest.fixture(scope="module", params=["heads", "grouped", "biased"])
def denoiser(request):
    # 4 heads of 16; grouped: two key / value heads of two query heads each
    made = {"heads": {}, "grouped": {"kv_heads": 2}, "biased": {"qkv_bias": True}}
    return tiny_denoiser(heads=4, **made[request.param])


@pytest.fixture(scope="module")
def exported(denoiser, tmp_path_factory):
    plan = plan_of()
    bank = WeightBank(denoiser, WeightCalibration(denoiser, ()))
    out = tmp_path_factory.mktemp("bundle") / "b"
    Exporter(denoiser).export(compress(denoiser, plan, bank), KeptShares((0.4, 1.0)), out)
    return {name: onnx.load(out / f"{name}.onnx") for name in ("refresh", "step")}


def attention_of(graph, rows, cached, size):
    """Attention operators of a graph, from its nodes alone."""
    found = []
    nodes = [node for node in graph.graph.node if node.op_type == "Attention"]
    for node, past in zip(nodes, cached, strict=True):
        known = {a.name: a.i for a in node.attribute}
        heads, kv_heads = known["q_num_heads"], known["kv_num_heads"]
        kind = "attention-mass" if len(node.output) > 3 and node.output[3] else "attention"
        found.append(
            OpKey(
                kind,
                rows,
                rows + past,
                heads * size,
                heads,
                kv_heads=0 if heads == kv_heads else kv_heads,
            )
        )
    return Counter(found)


def linears_of(graph, rows):
    """Products of a graph by format and the shape of their initializers."""
    shapes = {t.name: tuple(t.dims) for t in graph.graph.initializer}
    found = []
    for node in graph.graph.node:
        if node.op_type == "MatMul" and node.input[1] in shapes:
            found.append(OpKey("linear", rows_of(node, rows), *shapes[node.input[1]]))
        if node.op_type == "MatMulInteger":
            size = shapes[node.input[1]]
            found.append(OpKey("linear", rows_of(node, rows), *size, format="w8a8"))
        if node.op_type == "MatMulNBits":
            size = {a.name: a.i for a in node.attribute}
            key = OpKey("linear", rows_of(node, rows), size["K"], size["N"], format="w4")
            found.append(key)
    return Counter(found)


def rows_of(node, rows):
    """Only the block's rows reach the head."""
    return 4 if node.name.startswith("head") else rows


def test_operators_are_those_of_the_exported_graphs(denoiser, exported):
    g, plan = denoiser.geometry, plan_of()
    passes = {
        "refresh": (refresh_operators(g, KeptPlan.drawn(plan, (0.4, 1.0)), WORK), 17, (0, 0)),
        # 13 positions outside the block: 40 % of them are 6
        "step": (step_operators(g, KeptPlan.drawn(plan, (0.4, 1.0)), WORK), 4, (6, 13)),
    }
    for name, (operators, rows, cached) in passes.items():
        graph = exported[name]
        kinds = {
            kind: Counter({k: n for k, n in operators.items() if k.kind.startswith(kind)})
            for kind in ("linear", "attention")
        }
        assert kinds["linear"] == linears_of(graph, rows)
        assert kinds["attention"] == attention_of(graph, rows, cached, g.head_dim)


def test_operators_of_a_pruned_layer_by_hand(denoiser):
    step = step_operators(denoiser.geometry, KeptPlan.drawn(plan_of(), (0.4, 1.0)), WORK)
    # one key / value head stays, and with it the two query heads that share it, where they do
    grouped = denoiser.geometry.num_kv_heads == 2
    heads = 2 if grouped else 1
    # with two query heads it has the head's size, which is there once, too
    assert step[OpKey("linear", 4, 64, heads * 16 + 2 * 16)] == 1 + grouped
    assert step[OpKey("linear", 4, heads * 16, 64)] == 1
    attention = OpKey("attention", 4, 10, heads * 16, heads, kv_heads=int(grouped))
    assert step[attention] == 1
    assert step[OpKey("rotary", 4, (heads + 1) * 16, 0, heads + 1)] == 1
    assert step[OpKey("linear", 4, 64, 192)] == step[OpKey("linear", 4, 96, 64)] == 1
    assert step[OpKey("swiglu", 4, 96)] == step[OpKey("swiglu", 4, 128)] == 1


def test_bytes_of_layers_are_those_of_the_exported_initializers(denoiser, exported):
    plan, g = plan_of(), denoiser.geometry
    sizes = Counter()
    for tensor in exported["refresh"].graph.initializer:
        name = tensor.name.split(".")
        if (
            name[0] == "layers"
            and "/" not in tensor.name
            and name[2].split("_")[0] in ("qkv", "out", "gate", "down")
        ):
            sizes[int(name[1])] += nbytes(tensor)
    for index, layer in enumerate(plan.layers):
        assert layer_bytes(g, layer) == sizes[index], index
    whole = CompressionPlan.uniform(2, attention="fp32", mlp="fp32")
    less = sum(
        layer_bytes(g, a) - layer_bytes(g, b)
        for a, b in zip(whole.layers, plan.layers, strict=True)
    )
    assert plan_bytes(g, plan) == plan_bytes(g, whole) - less
    with pytest.raises(PlanError, match="layer 0: kept_heads must be at most"):
        plan_bytes(g, CompressionPlan.uniform(2, kept_heads=5))


def nbytes(tensor):
    if external_data_helper.uses_external_data(tensor):
        return int({e.key: e.value for e in tensor.external_data}["length"])
    return numpy_helper.to_array(tensor).nbytes


@pytest.mark.parametrize(
    "cache", [{"rule": "mean-query"}, {"rule": "recent"}, {"running": False}, {"rule": "mass"}]
)
def test_a_refresh_hands_out_what_the_rule_looks_at(cache, tmp_path):
    denoiser, plan = tiny_denoiser(heads=4, kv_heads=2), plan_of(**cache)
    bank = WeightBank(denoiser, WeightCalibration(denoiser, ()))
    static = None if plan.cache.running else StaticScores(first=((),) * 2, from_end=((0.0,),) * 2)
    kept = KeptShares((0.4, 1.0), plan.cache, 4, static)
    Exporter(denoiser).export(compress(denoiser, plan, bank), kept, tmp_path / "b")
    graph = onnx.load(tmp_path / "b" / "refresh.onnx")
    refresh = refresh_operators(denoiser.geometry, KeptPlan(plan, kept), WORK)
    attention = Counter({k: n for k, n in refresh.items() if k.kind.startswith("attention")})
    assert attention == attention_of(graph, 17, (0, 0), denoiser.geometry.head_dim)
    handed_out = {output.name for output in graph.graph.output if "mass" in output.name}
    asked = [key for key in refresh if key.kind in ("mean-query", "attention-mass")]
    assert len(handed_out) == len(asked)
    named = ("qkv", "out", "gate_up", "down", "head")
    products = [n for n in graph.graph.node if n.op_type == "MatMul"]
    others = [n for n in products if n.name.split(".")[-1] not in named]
    assert len(others) == sum(key.kind == "mean-query" for key in refresh)


def brute_force(predictor, plan, kept):
    """A generation pass by pass, each with the positions that the keeper would keep."""
    work, g, total = predictor.workload, predictor.geometry, 0.0
    refresh = -1
    for each in passes(work.decoding):
        refresh += each.refresh
        if each.refresh:
            operators = refresh_operators(g, KeptPlan(plan, kept), work)
        else:
            operators = Counter()
            now = [kept.at(layer, refresh) for layer in range(len(plan.layers))]
            for key, count in step_operators(
                g, KeptPlan(plan, KeptShares(tuple(now))), work
            ).items():
                operators[key] += count
        total += sum(n * predictor.device.costs.cost_us(key) for key, n in operators.items()) / 1e3
    return total


@pytest.mark.parametrize(
    "cache",
    [
        {"late_scale": 0.5},
        {"early_scale": 1.5, "late_scale": 0.3, "boundary": 0.25},
        {"early_scale": 0.7, "boundary": 0.8, "rule": "mean-query"},
        {},
    ],
)
@pytest.mark.parametrize("steps", [8, 12, 4])
def test_phases_are_a_sum_over_passes(denoiser, cache, steps):
    decoding = Decoding(gen_length=16, block_length=4, steps=steps, refresh_interval=2)
    work = Workload(9, decoding)
    g, layers = denoiser.geometry, [*LAYERS, {"sink_threshold": 0.9}]
    plan = CompressionPlan.validate({"layers": layers, "cache": cache})
    device = formula_device(g, work, kept=Kept((0.25, 0.5), (0.75,)))
    kept = KeptShares((0.4, 1.0, 0.8), plan.cache, decoding.refreshes)
    predictor = Predictor(device, g, work)
    found = predictor.predict(KeptPlan(plan, kept))
    assert found.generation_ms == pytest.approx(brute_force(predictor, plan, kept), rel=1e-3)
    layers_ms = predictor.layers_ms(KeptPlan(plan, kept))
    assert sum(layers_ms) + predictor.head_ms(plan.head) == pytest.approx(found.generation_ms)
    refreshes, steps_ = generation_operators(g, KeptPlan(plan, kept), work)
    pairs = [*refreshes.items(), *steps_.items()]
    summed = sum(n * device.costs.cost_us(key) for key, n in pairs) / 1e3
    assert summed == pytest.approx(found.generation_ms)
    assert sum(refreshes.values()) + sum(steps_.values()) > 0


def test_phases_change_a_generation_by_the_steps_that_see_them(denoiser):
    decoding = Decoding(gen_length=16, block_length=4, steps=16, refresh_interval=4)
    work = Workload(9, decoding)
    g = denoiser.geometry
    predictor = Predictor(formula_device(g, work), g, work)
    times = {}
    for late in (1.0, 0.5):
        plan = CompressionPlan.uniform(2, sink_threshold=0.5, cache={"late_scale": late})
        kept = KeptShares((0.6, 0.6), plan.cache, decoding.refreshes)
        times[late] = predictor.predict(KeptPlan(plan, kept))
    assert times[0.5].refresh_ms == times[1.0].refresh_ms
    # of four blocks the last two are late, so half of the 12 steps keep 7 instead of 13 of 21
    gone = 6 * 2 * 6 * 2.0 * 4 * 64 * 100.0 / 1e6 / 1e3
    assert times[1.0].generation_ms - times[0.5].generation_ms == pytest.approx(gone, rel=1e-3)


def test_pruned_sizes_are_timed_on_demand(denoiser):
    g = denoiser.geometry
    plain = set(operators_of(g, WORK))
    more = set(operators_of(g, WORK, kept=Kept((0.5,), (0.75, 0.5))))
    assert plain < more
    device = formula_device(g, WORK, kept=Kept((0.25,), (0.75,)))
    exact = device.costs.p50_us
    plan = plan_of()
    for operators in (refresh_operators, step_operators):
        linears = (
            k for k in operators(g, KeptPlan.drawn(plan, (0.4, 1.0)), WORK) if k.kind == "linear"
        )
        if g.num_kv_heads == 4:
            assert all(key in exact for key in linears)
    assert Predictor(device, g, WORK).predict(KeptPlan.drawn(plan, (0.4, 1.0))).generation_ms > 0


def test_choosing_is_weighed_where_a_refresh_is_asked_and_positions_are_dropped():
    assert OperatorChoice("kept", 0.5, None, Caching(Signal.MASS)).group == "choosing"
    assert OperatorChoice("kept", 0.5, None, Caching(Signal.QUERY)).group == "choosing"
    assert OperatorChoice("kept", 0.5, None, Caching(Signal.NONE)).group is None
    assert OperatorChoice("kept", 1.0, None, Caching(Signal.MASS)).group is None
    assert OperatorChoice("down", WeightFormat.W4).group is WeightFormat.W4
