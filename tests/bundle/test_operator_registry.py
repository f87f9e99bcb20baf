"""The exporter's registry is made once, left as it was found, and missed by nobody where it has moved."""

import gc

import pytest
import torch
from torch._export import utils
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
    before = vars(REGISTRY)["from_torchlib"], utils._materialize_cpp_cia_ops
    with pytest.raises(RuntimeError), one_registry():
        assert not gc.isenabled()
        raise RuntimeError
    assert (vars(REGISTRY)["from_torchlib"], utils._materialize_cpp_cia_ops) == before
    assert gc.isenabled()


def test_operators_are_looked_up_once_a_graph(monkeypatch):
    times, look_up = [], utils._materialize_cpp_cia_ops
    monkeypatch.setattr(
        utils, "_materialize_cpp_cia_ops", lambda: times.append(gc.isenabled()) or look_up()
    )
    graph()
    graph()
    assert times == [False] * 2


def test_what_collects_no_garbage_is_left_at_that():
    gc.disable()
    try:
        with one_registry():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_graphs_are_the_same_where_torch_has_none(monkeypatch):
    expected = graph()
    for name in ("_owner", "_finder"):
        monkeypatch.setattr(operator_registry, name, lambda: None)
    found = graph()
    assert [node.op_type for node in found.graph.node] == ["MatMul"]
    assert list(found.graph.node) == list(expected.graph.node)
    assert list(found.graph.input) == list(expected.graph.input)
    assert list(found.graph.output) == list(expected.graph.output)
