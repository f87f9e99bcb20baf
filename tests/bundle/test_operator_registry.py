"""The exporter's registry is made once, left as it was found, and missed by nobody where it has moved."""

import pytest
import torch
from torch.onnx._internal.exporter import _registration

from hwsearch.bundle.graphs import operator_registry
from hwsearch.bundle.graphs.operator_registry import one_registry
from hwsearch.bundle.graphs.pieces import Projection
from hwsearch.bundle.graphs.tracing import OPSET, trace

REGISTRY = _registration.ONNXRegistry


def graph():
    piece = Projection.bare(3, 5)
    names = {"input_names": ["x"], "output_names": ["y"]}
    return trace(torch.nn.Sequential(piece), (torch.zeros(1, 2, 3),), **names).model


def test_all_graphs_share_one_and_torch_keeps_its_own():
    before = vars(REGISTRY)["from_torchlib"]
    with one_registry():
        first = REGISTRY.from_torchlib(opset_version=OPSET)
        assert REGISTRY().from_torchlib(opset_version=OPSET) is first
        assert first.opset_version == OPSET
        assert REGISTRY.from_torchlib(opset_version=OPSET + 1) is not first
    with one_registry():
        assert REGISTRY.from_torchlib(opset_version=OPSET) is first
    assert vars(REGISTRY)["from_torchlib"] is before
    assert REGISTRY.from_torchlib(opset_version=OPSET) is not first


def test_an_export_that_fails_leaves_it_too():
    before = vars(REGISTRY)["from_torchlib"]
    with pytest.raises(RuntimeError), one_registry():
        raise RuntimeError
    assert vars(REGISTRY)["from_torchlib"] is before


def test_graphs_are_the_same_where_torch_has_none(monkeypatch):
    expected = graph()
    monkeypatch.setattr(operator_registry, "_owner", lambda: None)
    found = graph()
    assert [node.op_type for node in found.graph.node] == ["MatMul"]
    assert list(found.graph.node) == list(expected.graph.node)
    assert list(found.graph.input) == list(expected.graph.input)
    assert list(found.graph.output) == list(expected.graph.output)
