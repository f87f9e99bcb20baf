"""Weights beside their graphs, and products quantised one by one."""

import hashlib
import json

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from hwsearch.bundle.products import ProductBank, quantise_products
from hwsearch.bundle.weights import (
    LEAST_BYTES,
    FloatMatrix,
    FloatRows,
    Graph,
    Weight,
    WeightGroup,
    WeightsFile,
    held,
    weight,
)
from hwsearch.plan import WeightFormat

FILL = WeightGroup.fill
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
    return Graph(model, {name: held(array) for name, array in arrays.items()})


def run(model):
    source = str(model) if not isinstance(model, onnx.ModelProto) else model.SerializeToString()
    return ort.InferenceSession(source).run(None, {"x": X})[0]


@pytest.mark.parametrize("first", ["fp32", "w8a8", "w8", "w4"])
@pytest.mark.parametrize("second", ["fp32", "w8a8", "w4"])
def test_products_made_in_pieces_are_those_made_at_once(first, second, monkeypatch):
    graph = two_products()
    formats = {"first": WeightFormat(first), "second": WeightFormat(second)}
    whole = quantise_products(graph.whole(), formats)
    monkeypatch.setattr(weight, "PIECE_BYTES", 4 * 64 * 7)  # seven outputs of the first, no divisor
    found = ProductBank().quantise(graph, formats)
    if first != "fp32":
        assert 7 in {w.group.at_once for w in found.weights.values()}
    np.testing.assert_array_equal(run(found.whole()), run(whole))
    assert set(found.weights) & {"a", "b"} == {
        name for name, fmt in (("a", first), ("b", second)) if fmt == "fp32"
    }


def test_graphs_of_one_bank_share_what_makes_their_weights():
    bank, graph = ProductBank(), two_products()
    formats = {"first": WeightFormat.W4, "second": WeightFormat.W8}
    once, again = bank.quantise(graph, formats), bank.quantise(graph, formats)
    assert again.model == once.model
    assert all(again.weights[name].group is one.group for name, one in once.weights.items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_linears_of_any_type_are_one_float_matrix(dtype, monkeypatch):
    monkeypatch.setattr(weight, "PIECE_BYTES", 4 * 24 * 5)
    parts = [torch.randn(rows, 24).to(dtype) for rows in (7, 3, 12)]
    found = Weight(FloatMatrix(parts), "")
    assert found.shape == (24, 22) and found.dtype == np.float32
    np.testing.assert_array_equal(found.array(), torch.cat(parts).float().t().numpy())
    rows = Weight(FloatRows([torch.arange(9.0).to(dtype)]), "")
    np.testing.assert_array_equal(rows.array(), np.arange(9, dtype=np.float32))


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
        arrays = {"a": small, "b": large, "c": small, "d": 2 * small}
        offsets = [weights.write(name, held(array)).offset for name, array in arrays.items()]
    assert offsets[0] == offsets[2] == 0
    assert offsets[1] == 4096 and offsets[3] % 64 == 0


def saved(graph, folder):
    with WeightsFile(folder / "weights.bin", folder / "journal") as weights:
        weights.save(graph, folder / "one.onnx")
        return weights.sha256


def test_a_file_that_was_cut_off_is_gone_on_with(tmp_path, monkeypatch):
    """After any array, or in the middle of one, or of a line of the journal."""
    graph = ProductBank().quantise(
        two_products(), {"first": WeightFormat.W8A8, "second": WeightFormat.FP32}
    )
    whole = tmp_path / "whole"
    whole.mkdir()
    checksum = saved(graph, whole)
    assert checksum == hashlib.sha256((whole / "weights.bin").read_bytes()).hexdigest()
    journal = (whole / "journal").read_text()
    assert len(journal.splitlines()) == 2
    made = []
    monkeypatch.setattr(
        WeightGroup, "fill", lambda group, arrays: made.append(group) or FILL(group, arrays)
    )
    for cut in (0, 5, journal.index("\n") + 1, len(journal) - 3, len(journal)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / "journal").write_text(journal[:cut])
        content = bytearray((whole / "weights.bin").read_bytes())
        known = journal[:cut].count("\n")
        if known < 2:  # what was being written is anything
            ends = [p["offset"] + p["nbytes"] for p in json.loads(journal.split("\n")[0]).values()]
            content[max(ends) if known else 0 :] = b"\xff" * 40_000
        (folder / "weights.bin").write_bytes(content)
        made.clear()
        assert saved(graph, folder) == checksum
        assert len(made) == 2 - known
        assert (folder / "weights.bin").read_bytes() == (whole / "weights.bin").read_bytes()
        np.testing.assert_array_equal(run(folder / "one.onnx"), run(whole / "one.onnx"))


def test_a_journal_without_its_file_counts_for_nothing(tmp_path):
    graph = two_products()
    checksum = saved(graph, tmp_path)
    (tmp_path / "weights.bin").write_bytes(b"")
    assert saved(graph, tmp_path) == checksum


@pytest.mark.parametrize(
    "line",
    [
        '{"a": {"offset": -64, "nbytes": 3, "sha256": "x"}}',
        '{"a": {"offset": "0", "nbytes": 3, "sha256": "x"}}',
        '{"a": {"offset": true, "nbytes": 3, "sha256": "x"}}',
        '{"a": {"offset": 0, "nbytes": 4000000000000000000, "sha256": "x"}}',
        '{"a": 3}',
        "[]",
    ],
)
def test_a_line_of_a_journal_that_nobody_of_ours_wrote_counts_for_nothing(tmp_path, line):
    graph = two_products()
    checksum = saved(graph, tmp_path)
    (tmp_path / "journal").write_text(f"{line}\n")
    assert saved(graph, tmp_path) == checksum
