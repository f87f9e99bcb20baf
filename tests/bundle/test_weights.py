"""Weights beside their graphs, and products quantised one by one."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from hwsearch.bundle.products import ProductBank
from hwsearch.bundle.quantise import quantise_products
from hwsearch.bundle.weights import LEAST_BYTES, Graph, WeightsFile
from hwsearch.plan import WeightFormat

RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 5, 64), dtype=np.float32)


def two_products():
    """x @ a, then @ b, and a small bias; weights apart."""
    arrays = {
        "a": RNG.standard_normal((64, 96), dtype=np.float32),
        "b": RNG.standard_normal((96, 32), dtype=np.float32),
    }
    tensors = []
    for name, array in arrays.items():
        tensor = numpy_helper.from_array(array, name)
        tensor.ClearField("raw_data")
        tensors.append(tensor)
    tensors.append(numpy_helper.from_array(np.ones(32, dtype=np.float32), "bias"))
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"], name="first"),
        helper.make_node("MatMul", ["h", "b"], ["z"], name="second"),
        helper.make_node("Add", ["z", "bias"], ["y"], name="add"),
    ]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None, 64])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, None, 32])
    # the whole-graph quantiser asks for the types behind products that it has quantised itself
    inner = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in ("h", "z")]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors, value_info=inner)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=10)
    return Graph(model, arrays)


def run(model):
    source = str(model) if not isinstance(model, onnx.ModelProto) else model.SerializeToString()
    return ort.InferenceSession(source).run(None, {"x": X})[0]


@pytest.mark.parametrize("first", ["fp32", "w8a8", "w8", "w4"])
@pytest.mark.parametrize("second", ["fp32", "w8a8", "w4"])
def test_products_one_by_one_are_the_graph_quantised_whole(first, second):
    graph = two_products()
    formats = {"first": WeightFormat(first), "second": WeightFormat(second)}
    found = ProductBank().quantise(graph, formats)
    whole = quantise_products(graph.whole(), formats)
    np.testing.assert_array_equal(run(found.whole()), run(whole))
    assert set(found.weights) & {"a", "b"} == {
        name for name, fmt in (("a", first), ("b", second)) if fmt == "fp32"
    }


def test_a_product_is_quantised_once_for_all_graphs(monkeypatch):
    bank, graph = ProductBank(), two_products()
    formats = {"first": WeightFormat.W4, "second": WeightFormat.W8}
    once = bank.quantise(graph, formats)
    monkeypatch.setattr("hwsearch.bundle.products.quantise_products", None)
    again = bank.quantise(graph, formats)
    assert again.model == once.model
    assert all(again.weights[name] is array for name, array in once.weights.items())


def test_graphs_of_one_file_share_their_weights(tmp_path):
    graph = two_products()
    formats = {"first": WeightFormat.W8A8, "second": WeightFormat.FP32}
    with WeightsFile(tmp_path / "weights.bin") as weights:
        weights.save(graph, tmp_path / "one.onnx")
        weights.save(graph, tmp_path / "two.onnx")
        weights.save(ProductBank().quantise(graph, formats), tmp_path / "three.onnx")
    float_bytes = sum(array.nbytes for array in graph.weights.values())
    size = (tmp_path / "weights.bin").stat().st_size
    assert float_bytes + 64 * 96 <= size <= float_bytes + 64 * 96 + 8 * 64
    assert max((tmp_path / f"{n}.onnx").stat().st_size for n in ("one", "two")) < 4 * LEAST_BYTES
    wanted = run(graph.whole())
    np.testing.assert_array_equal(run(tmp_path / "one.onnx"), wanted)
    np.testing.assert_array_equal(run(tmp_path / "two.onnx"), wanted)
    assert not np.array_equal(run(tmp_path / "three.onnx"), wanted)


def test_large_arrays_begin_on_a_page(tmp_path):
    with WeightsFile(tmp_path / "weights.bin") as weights:
        small, large = np.ones(300, np.float32), np.ones(300_000, np.float32)
        offsets = [weights._write(array) for array in (small, large, small, 2 * small)]
    assert offsets[0] == offsets[2] == 0
    assert offsets[1] == 4096 and offsets[3] % 64 == 0
