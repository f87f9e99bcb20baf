"""Operators written out in simpler ones compute the same."""

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from hwsearch.bundle.graphs.decomposed import written_out
from hwsearch.bundle.weights import Graph
from hwsearch.errors import InputError
from hwsearch.runtime.providers.provider import TRANSFORMER_OPERATORS

RNG = np.random.default_rng(0)


def model(nodes, inputs, outputs):
    """A graph of some nodes; inputs by name are arrays."""
    graph = helper.make_graph(
        nodes,
        "one",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
            for name, value in inputs.items()
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
    )
    opsets = [helper.make_opsetid("", 23)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


def assert_same(found, inputs, gone):
    simpler = written_out(Graph(found, {}), TRANSFORMER_OPERATORS).model
    assert not {node.op_type for node in simpler.graph.node} & {gone}
    runs = [
        ort.InferenceSession(one.SerializeToString()).run(None, inputs) for one in (found, simpler)
    ]
    for wanted, got in zip(*runs, strict=True):
        assert wanted.shape == got.shape
        np.testing.assert_allclose(got, wanted, atol=2e-6)


def floats(*shape):
    return RNG.standard_normal(shape, dtype=np.float32)


def test_root_mean_square():
    inputs = {"x": floats(1, 7, 24), "w": floats(24)}
    node = helper.make_node("RMSNormalization", ["x", "w"], ["y"], "norm", epsilon=1e-3)
    assert_same(model([node], inputs, ["y"]), inputs, "RMSNormalization")


def test_rotary():
    inputs = {"x": floats(1, 7, 24), "cos": floats(1, 7, 4), "sin": floats(1, 7, 4)}
    node = helper.make_node("RotaryEmbedding", ["x", "cos", "sin"], ["y"], "turn", num_heads=3)
    assert_same(model([node], inputs, ["y"]), inputs, "RotaryEmbedding")


@pytest.mark.parametrize("shared", [6, 2, 1])
@pytest.mark.parametrize("past", [0, 5])
@pytest.mark.parametrize("mass", [False, True])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_attention(shared, past, mass, scale):
    inputs = {"q": floats(1, 7, 24), "k": floats(1, 7, 4 * shared), "v": floats(1, 7, 4 * shared)}
    names = ["q", "k", "v"]
    if past:
        inputs |= {"pk": floats(1, shared, past, 4), "pv": floats(1, shared, past, 4)}
        names += ["", "pk", "pv"]
    told = {"q_num_heads": 6, "kv_num_heads": shared} | ({} if scale is None else {"scale": scale})
    outputs = ["y", "key", "value"]
    if mass:
        told["qk_matmul_output_mode"] = 3
        outputs.append("mass")
    node = helper.make_node("Attention", names, outputs, "attend", **told)
    assert_same(model([node], inputs, outputs), inputs, "Attention")


def test_a_graph_without_them_is_the_very_same():
    inputs = {"x": floats(1, 3)}
    graph = Graph(model([helper.make_node("Neg", ["x"], ["y"], "n")], inputs, ["y"]), {})
    assert written_out(graph, TRANSFORMER_OPERATORS) is graph


@pytest.mark.parametrize(
    ("kind", "names", "told", "why"),
    [
        ("Attention", ["q", "q", "q", "m"], {"q_num_heads": 1, "kv_num_heads": 1}, "a mask"),
        ("Attention", ["q", "q", "q"], {"q_num_heads": 1, "kv_num_heads": 1, "is_causal": 1}, "is_causal"),
        ("RotaryEmbedding", ["q", "m", "m"], {"num_heads": 1, "interleaved": 1}, "halves"),
        ("RMSNormalization", ["q", "m"], {"axis": 1}, "another axis"),
    ],
)  # fmt: skip
def test_what_is_not_written_out_is_named(kind, names, told, why):
    inputs = {"q": floats(1, 3, 4), "m": floats(1, 3, 2)}
    graph = Graph(model([helper.make_node(kind, names, ["y"], "odd", **told)], inputs, ["y"]), {})
    with pytest.raises(InputError, match=f"node odd: a {kind} with .*{why}"):
        written_out(graph, TRANSFORMER_OPERATORS)
