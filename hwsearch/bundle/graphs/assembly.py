"""Put traced pieces together to one graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import onnx
from onnx import helper, numpy_helper

from hwsearch.bundle.graphs.tracing import OPSET
from hwsearch.bundle.weights import Graph, Weight, declared
from hwsearch.runtime.probe import LOGITS

#: Version of the format that graphs are written in: that of torch's exporter.
_IR_VERSION = 10


@dataclass(frozen=True)
class Placed:
    """A piece in its place.

    Attributes:
        piece: as it was traced.
        scope: what inner names begin with.
        prefix: what names of weights and products begin with.
        wires: what its inputs and outputs are called outside; others are inner names.
        dims: what its free sizes are called outside.
    """

    piece: Graph
    scope: str
    prefix: str = ""
    wires: Mapping[str, str] = field(default_factory=dict)
    dims: Mapping[str, str] = field(default_factory=dict)

    def outer(self, name: str) -> str:
        """What a value is called outside."""
        if name in ("", LOGITS):
            return name
        return self.wires.get(name) or f"{self.scope}/{name}"

    def values(self) -> dict[str, onnx.ValueInfoProto]:
        """Inputs and outputs by their names outside."""
        graph, found = self.piece.model.graph, {}
        for value in (*graph.input, *graph.output):
            renamed = onnx.ValueInfoProto()
            renamed.CopyFrom(value)
            renamed.name = self.outer(value.name)
            for dim in renamed.type.tensor_type.shape.dim:
                if dim.HasField("dim_param"):
                    dim.dim_param = self.dims.get(dim.dim_param, dim.dim_param)
            found[renamed.name] = renamed
        return found


def assembled(
    pieces: Sequence[Placed],
    inputs: Sequence[str],
    outputs: Sequence[str],
    weights: Mapping[str, Weight],
) -> Graph:
    """One graph of pieces in the order in which they run; what no output needs is left out.

    Args:
        pieces: each in its place.
        inputs, outputs: names, in order.
        weights: the values of all parameters, by prefix and name.
    """
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, onnx.TensorProto] = {}
    values: dict[str, onnx.ValueInfoProto] = {}
    for placed in pieces:
        renames = _renames(placed, weights, constants)
        for node in placed.piece.model.graph.node:
            nodes.append(_renamed(node, placed, renames, weights))
        values = placed.values() | values
    nodes = _needed(nodes, outputs)
    read = {name for node in nodes for name in node.input}
    tensors, apart = [tensor for name, tensor in constants.items() if name in read], {}
    for name in sorted(read & weights.keys()):
        tensor, weight = declared(name, weights[name])
        tensors.append(tensor)
        if weight is not None:
            apart[name] = weight
    graph = helper.make_graph(
        nodes, "pass", [values[n] for n in inputs], [values[n] for n in outputs], tensors
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return Graph(helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION), apart)


def _renames(
    placed: Placed, weights: Mapping[str, Weight], constants: dict[str, onnx.TensorProto]
) -> dict[str, str]:
    """Names outside of a piece's initializers; constants, which are no parameters, are copied."""
    renames = {}
    for tensor in placed.piece.model.graph.initializer:
        name = placed.prefix + tensor.name
        if name not in weights:
            name = f"{placed.scope}/{tensor.name}"
            constants[name] = numpy_helper.from_array(placed.piece.value(tensor.name), name)
        renames[tensor.name] = name
    return renames


def _renamed(
    node: onnx.NodeProto,
    placed: Placed,
    renames: Mapping[str, str],
    weights: Mapping[str, Weight],
) -> onnx.NodeProto:
    found = onnx.NodeProto()
    found.CopyFrom(node)
    found.input[:] = [renames.get(name) or placed.outer(name) for name in node.input]
    found.output[:] = [placed.outer(name) for name in node.output]
    product = f"{placed.prefix}{node.name}.weight" in weights and node.op_type == "MatMul"
    found.name = placed.prefix + node.name if product else f"{placed.scope}/{node.name}"
    return found


def _needed(nodes: Iterable[onnx.NodeProto], outputs: Sequence[str]) -> list[onnx.NodeProto]:
    """The nodes that outputs depend on, in their order."""
    wanted, kept = {*outputs, LOGITS}, []
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            kept.append(node)
            wanted |= set(node.input)
    return kept[::-1]
