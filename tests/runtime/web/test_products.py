"""What onnxruntime-web's kernels compute of each format, and that its integer products are exact."""

import json

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from hwsearch.bundle.products import quantise_products
from hwsearch.formats.blocks import Blocks
from hwsearch.formats.catalog import format_of
from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers import WEB
from hwsearch.runtime.web import write_runner
from hwsearch.testing.format import TOLERANCE, product_graph, seeded_linear
from tests.runtime.web.node import HERE, run, with_modules


def outputs(folder, cases):
    """First outputs of graphs in Node, or why they do not open."""
    web = with_modules(write_runner(folder / "web"))
    told = []
    for index, (model, feeds) in enumerate(cases):
        path = folder / f"{index}.onnx"
        path.write_bytes(model.SerializeToString())
        inputs = {
            name: {
                "type": value.dtype.name,
                "values": value.flatten().tolist(),
                "shape": value.shape,
            }
            for name, value in feeds.items()
        }
        told.append({"graph": str(path), "inputs": inputs})
    (folder / "cases.json").write_text(json.dumps(told))
    return json.loads(run(HERE / "graphs.mjs", web, folder / "cases.json")[0])


def product(fmt, inputs, count, rows):
    """The graph of a product in a format, what to run it with, and what it should be."""
    form, linear = format_of(fmt), seeded_linear(inputs, count)
    x = 3 * torch.randn(1, rows, inputs) * torch.rand(inputs)
    simulated = form.simulate(linear)
    with torch.no_grad():
        # inputs of blocks stay floats, as the provider says
        due = x @ simulated.weight.T if isinstance(form, Blocks) else simulated(x)
    model = quantise_products(product_graph(linear), {"product": fmt})
    return model, {"x": x.numpy()}, due.numpy()


def test_every_format_is_computed_as_told(tmp_path):
    """A model of one product each, for sizes that fill blocks and sizes that do not."""
    assert not WEB.rounds_inputs
    sizes = ((128, 96, 16), (48, 20, 3))
    cases = [(fmt, *product(fmt, *size)) for fmt in WEB.formats for size in sizes]
    found = outputs(tmp_path, [(model, feeds) for _, model, feeds, _ in cases])
    for (fmt, _, _, due), numbers in zip(cases, found, strict=True):
        error = np.abs(np.reshape(numbers, due.shape) - due).max() / np.abs(due).max()
        assert error <= TOLERANCE, (fmt, error)


def test_what_is_not_offered_has_no_kernel(tmp_path):
    model, feeds, _ = product(WeightFormat.FP8, 128, 96, 16)
    (said,) = outputs(tmp_path, [(model, feeds)])
    assert "onnxruntime-web" in said and "does not open it" in said


@pytest.mark.parametrize(("element", "low", "high"), [("INT8", -128, 127), ("UINT8", 0, 255)])
def test_integer_products_do_not_saturate(tmp_path, element, low, high):
    """The largest numbers side by side, which x86 without VNNI loses carries of."""
    inputs, count = 64, 16
    dtype = np.dtype(element.lower())
    signs = np.where(np.arange(count) % 2, low, high)
    weights = np.broadcast_to(signs, (inputs, count)).astype(dtype)
    x = np.full((4, inputs), 255, dtype=np.uint8)
    node = helper.make_node("MatMulInteger", ["x", "w"], ["y"])
    graph = helper.make_graph(
        [node],
        "extremes",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [4, count])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    (found,) = outputs(tmp_path, [(model, {"x": x})])
    due = x.astype(np.int64) @ weights.astype(np.int64)
    assert np.reshape(found, due.shape).tolist() == due.tolist()
