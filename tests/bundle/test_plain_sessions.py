"""Exported files give the product's numbers in anybody's session, on any processor."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from hwsearch.bundle import Exporter
from hwsearch.bundle.products import ProductBank, quantise_products
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.transformer import Transformer
from hwsearch.formats import w8a8
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.runtime.providers import CPU
from hwsearch.runtime.providers.int8 import PAIRED
from hwsearch.testing.tiny import tiny_denoiser

FAMILIES = {
    "tied llada": {"tie_embeddings": True},
    "dream": {"logit_shift": True, "qkv_bias": True, "grouped": True},
    "qwen3": {"qk_norm": True, "tie_embeddings": True, "grouped": True},
}
MIXED = CompressionPlan.validate(
    {"layers": [{"attention": "w8a8", "mlp": "w4"}, {"attention": "w8", "mlp": "w8a8"}]}
    | {"head": "w8a8"}
)
PLANS = {"mixed": MIXED} | {
    fmt: CompressionPlan.uniform(2, fmt, fmt, head=fmt)
    for fmt in ("fp32", "fp8", "w8a8", "w8", "w4")
}
KEPT_SHARES = KeptShares((0.6, 1.0))
BLOCK, LENGTH = 4, 21


def loud(denoiser):
    """With weights of one magnitude: 8-bit codes are all at their largest, and pairs overflow."""
    network = Transformer(denoiser.geometry)
    state = denoiser.network.state_dict()
    rows = {name: value.sign() * value.std() for name, value in state.items() if "_proj" in name}
    network.load_state_dict(state | {n: v for n, v in rows.items() if v.dim() == 2})
    return replace(denoiser, network=network.eval().requires_grad_(False))


def feeds_of(session):
    """Inputs of a graph, large enough to reach every code."""
    rng = np.random.default_rng(0)
    feeds = {}
    for value in session.get_inputs():
        sizes = [{"length": LENGTH}.get(s, 11) if isinstance(s, str) else s for s in value.shape]
        if value.name == "tokens":
            feeds["tokens"] = rng.integers(3, 64, sizes)
        elif value.name == "start":
            feeds["start"] = np.array(9)
        else:
            feeds[value.name] = rng.standard_normal(sizes, dtype=np.float32)
    return feeds


@pytest.fixture(scope="module", params=FAMILIES)
def exporter(request):
    return Exporter(loud(tiny_denoiser(**FAMILIES[request.param])))


def written(exporter, plan, out):
    denoiser = replace(tiny_denoiser(), network=exporter._network)
    return exporter.export(compress(denoiser, plan), KEPT_SHARES, out).path


def assert_same(path, other):
    names = [value.name for value in path.get_outputs()]
    feeds = feeds_of(path)
    for name, ours, theirs in zip(
        names, path.run(names, feeds), other.run(names, feeds), strict=True
    ):
        assert np.isfinite(ours).all()
        size = np.abs(ours).max()
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-5 * size, err_msg=name)


@pytest.mark.parametrize("plan", PLANS)
def test_a_plain_session_gives_the_products_numbers(exporter, plan, tmp_path):
    path = written(exporter, PLANS[plan], tmp_path / "bundle")
    for graph in ("refresh.onnx", "step.onnx"):
        assert_same(CPU.open(path / graph, 1), ort.InferenceSession(str(path / graph)))


def test_neighbouring_codes_of_integer_products_leave_room_for_each_other(exporter, tmp_path):
    path = written(exporter, PLANS["w8a8"], tmp_path / "bundle")
    for graph in ("refresh.onnx", "step.onnx"):
        model = onnx.load(path / graph)
        arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
        products = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
        assert len(products) == 9
        for node in products:
            codes = arrays[node.input[1]]
            assert codes.dtype == np.int8 and not arrays[node.input[3]].any()
            size = np.abs(codes.astype(int))
            assert (size[0::2] + size[1::2]).max(axis=0).min() >= 126, "and no more than needed"
            assert (size[0::2] + size[1::2]).max() <= 128
        assert PAIRED in {entry.key for entry in model.metadata_props}


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_bundles_of_earlier_versions_still_run_right(kind, exporter, tmp_path, monkeypatch):
    # scales as onnxruntime's quantiser takes them: no room for neighbours
    monkeypatch.setattr(w8a8, "_paired_scale", lambda size: (size.max(axis=1) / 127).astype("f4"))
    monkeypatch.setattr("hwsearch.bundle.products.note_pairs", lambda *_: None)
    for graphs in exporter._graphs.values():
        monkeypatch.setattr(graphs, "_bank", ProductBank())
    old = written(exporter, PLANS["w8a8"], tmp_path / "old")
    for graph in ("refresh.onnx", "step.onnx"):
        model = onnx.load(old / graph)
        exact = unsigned(model)
        found = exact if kind == "uint8" else model.SerializeToString()
        assert_same(CPU.open(found, 1), ort.InferenceSession(exact))


def unsigned(model):
    """The same with uint8 weights, exact in every session: what bundles held for a while."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    products = [node for node in copy.graph.node if node.op_type == "MatMulInteger"]
    names = {node.input[index] for node in products for index in (1, 3)}
    for tensor in copy.graph.initializer:
        if tensor.name in names:
            codes = numpy_helper.to_array(tensor).view(np.uint8) ^ np.uint8(128)
            tensor.CopyFrom(numpy_helper.from_array(codes, tensor.name))
    return copy.SerializeToString()


def saturating(inputs, weights):
    """Products as x86 without VNNI sums uint8 times int8: in pairs of 16 bits, cut off where full."""
    terms = inputs[:, :, None].astype(np.int64) * weights[None].astype(np.int64)
    pairs = terms[:, 0::2] + terms[:, 1::2]
    return pairs.clip(-(2**15), 2**15 - 1).sum(axis=1)


@pytest.mark.parametrize("rows", [1, 3, 64])
@pytest.mark.parametrize(("size", "columns"), [(64, 48), (66, 17), (512, 96)])
@pytest.mark.parametrize("kind", ["positive", "negative", "normal"])
def test_integer_products_are_exact_where_pairs_would_overflow(kind, size, columns, rows):
    rng = np.random.default_rng(size + rows)
    weight = rng.choice([-1.0, 1.0], (size, columns)) * rng.uniform(0.9, 1, (size, columns))
    weight[0::2] = np.abs(weight[0::2])
    weight[1::2] = np.where(rng.random((size // 2, columns)) < 0.7, 1, -1) * weight[0::2]
    x = rng.standard_normal((1, rows, size))
    x = {"positive": 9 + 0.1 * x, "negative": -9 + 0.1 * x, "normal": x}[kind].astype(np.float32)
    model = quantise_products(product_model(weight.astype(np.float32)), {"m": WeightFormat.W8A8})
    arrays = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    codes, scale = arrays["m.weight_quantized"], arrays["m.weight_scale"]
    assert codes.dtype == np.int8
    signed = codes.astype(np.int64)
    # the operator's definition: ONNX's DynamicQuantizeLinear
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = np.float32((np.float32(high) - np.float32(low)) / np.float32(255))
    zero = np.clip(np.rint(-np.float32(low) / step), 0, 255)
    inputs = np.clip(np.rint(x[0] / step) + zero, 0, 255).astype(np.int64)
    exact = (inputs - int(zero)) @ signed
    assert (saturating(inputs, signed) == inputs @ signed).all()
    # else this test could not tell the two apart; all-negative inputs have codes near 0, always exact
    wide = np.rint(weight / np.abs(weight).max(axis=0) * 127).astype(np.int64)
    assert kind == "negative" or (saturating(inputs, wide) != inputs @ wide).any()
    wanted = exact * np.float64(step) * scale.astype(np.float64)
    answer = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0][0]
    # rounding of the inputs may flip where a value is half way between two codes
    half = np.abs(np.abs(x[0] / step % 1) - 0.5) < 1e-4
    slack = (half @ np.abs(signed)) * np.float64(step) * scale
    assert (np.abs(answer - wanted) <= 1e-6 * np.abs(wanted).max() + slack).all()


def product_model(weight):
    size, columns = weight.shape
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, None, size])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, None, columns])
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "m")
    held = [numpy_helper.from_array(weight, "w")]
    graph = onnx.helper.make_graph([node], "g", [x], [y], held)
    opsets = [onnx.helper.make_opsetid("", 23)]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10)
