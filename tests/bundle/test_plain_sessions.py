"""Exported files give the product's numbers in anybody's session, on any processor."""

from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import numpy_helper

from hwsearch.bundle import Exporter
from hwsearch.bundle.products import ProductBank, quantised_product
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.transformer import Transformer
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.runtime.graphs import open_session
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
    fmt: CompressionPlan.uniform(2, fmt, fmt, head=fmt) for fmt in ("fp32", "w8a8", "w8", "w4")
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
        assert_same(open_session(path / graph, 1), ort.InferenceSession(str(path / graph)))


def test_no_integer_product_has_signed_weights(exporter, tmp_path):
    path = written(exporter, PLANS["w8a8"], tmp_path / "bundle")
    for graph in ("refresh.onnx", "step.onnx"):
        model = onnx.load(path / graph, load_external_data=False)
        types = {t.name: t.data_type for t in model.graph.initializer}
        products = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
        assert len(products) == 9
        found = {types[node.input[index]] for node in products for index in (1, 3)}
        assert found == {onnx.TensorProto.UINT8}


def test_a_bundle_with_signed_weights_still_runs_right(exporter, tmp_path, monkeypatch):
    new = written(exporter, PLANS["w8a8"], tmp_path / "new")
    monkeypatch.setattr("hwsearch.formats.w8a8.as_unsigned", lambda model: model)
    for graphs in exporter._graphs.values():
        monkeypatch.setattr(graphs, "_bank", ProductBank())
    old = written(exporter, PLANS["w8a8"], tmp_path / "old")
    types = {t.data_type for t in onnx.load(old / "step.onnx").graph.initializer}
    assert onnx.TensorProto.INT8 in types and onnx.TensorProto.UINT8 not in types
    for graph in ("refresh.onnx", "step.onnx"):
        assert_same(open_session(old / graph, 1), open_session(new / graph, 1))


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
    product = quantised_product("m", WeightFormat.W8A8, weight.astype(np.float32))
    found = {**{t.name: t for t in product.initializers}}
    arrays = {n: numpy_helper.to_array(t) for n, t in found.items() if n not in product.weights}
    arrays |= product.weights
    codes = next(a for n, a in arrays.items() if n.endswith("_quantized"))
    scale = next(a for n, a in arrays.items() if n.endswith("_scale"))
    assert codes.dtype == np.uint8
    signed = codes.astype(np.int64) - 128
    assert np.abs(signed).max() == 127
    # the operator's definition: ONNX's DynamicQuantizeLinear
    low, high = min(x.min(), 0), max(x.max(), 0)
    step = np.float32((np.float32(high) - np.float32(low)) / np.float32(255))
    zero = np.clip(np.rint(-np.float32(low) / step), 0, 255)
    inputs = np.clip(np.rint(x[0] / step) + zero, 0, 255).astype(np.int64)
    exact = (inputs - int(zero)) @ signed
    # else this test could not tell the two apart; all-negative inputs have codes near 0, always exact
    assert (
        kind == "negative"
        or (saturating(inputs, signed) - int(zero) * signed.sum(axis=0) != exact).any()
    )
    wanted = exact * np.float64(step) * scale.astype(np.float64)
    model = standing_alone(product, arrays, size, columns)
    answer = ort.InferenceSession(model).run(None, {"x": x})[0][0]
    # rounding of the inputs may flip where a value is half way between two codes
    half = np.abs(np.abs(x[0] / step % 1) - 0.5) < 1e-4
    slack = (half @ np.abs(signed)) * np.float64(step) * scale
    assert (np.abs(answer - wanted) <= 1e-6 * np.abs(wanted).max() + slack).all()


def standing_alone(product, arrays, size, columns):
    x = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, None, size])
    y = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, None, columns])
    held = [numpy_helper.from_array(array, name) for name, array in arrays.items()]
    graph = onnx.helper.make_graph(product.nodes, "g", [x], [y], held)
    model = onnx.helper.make_model(graph, opset_imports=product.opsets, ir_version=10)
    return model.SerializeToString()
