"""Operators of transformers written out in simpler ones, for runtimes that have no kernel for them.

What ONNX itself says of an operator's parts (its function body) also handles masks and ranks that these
graphs do not have, in six times as many nodes; so each is written here for what our graphs hold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper

from hwsearch.bundle.weights import Graph
from hwsearch.errors import InputError


def written_out(graph: Graph, operators: Collection[str], weights: bool = False) -> Graph:
    """A graph with some operators written out; the graph itself where it holds none of them.

    Args:
        graph: left as it is.
        operators: of ``Attention``, ``RotaryEmbedding``, ``RMSNormalization`` and ``Gather``.
        weights: also those of ``Attention`` whose weights are handed out.

    Raises:
        InputError: a node uses what is not written out, such as a mask.
    """
    chosen = [
        node.domain == "" and (node.op_type in operators or (weights and _hands_out_weights(node)))
        for node in graph.model.graph.node
    ]
    if not any(chosen):
        return graph
    model = graph.copy().model
    parts = _Parts(model)
    for is_chosen, node in zip(chosen, graph.model.graph.node, strict=True):
        if is_chosen:
            _WRITERS[node.op_type](parts, node)
        else:
            parts.nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(parts.nodes)
    return Graph(model, graph.weights)


def _hands_out_weights(node: NodeProto) -> bool:
    return node.op_type == "Attention" and len(node.output) == 4 and bool(node.output[3])


class _Parts:
    """Nodes that take the place of others, and the constants they share."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.nodes: list[NodeProto] = []
        self._initializer = model.graph.initializer
        self._constants: set[str] = set()

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """A node of one output, called like it."""
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def wholes(self, *values: int) -> str:
        """Whole numbers, such as axes or a shape."""
        return self._constant("wholes", np.array(values, dtype=np.int64))

    def number(self, value: float) -> str:
        """A float."""
        return self._constant("number", np.array(value, dtype=np.float32))

    def _constant(self, kind: str, value: np.ndarray[Any, Any]) -> str:
        name = f"written_out.{kind}." + "_".join(str(one) for one in value.ravel().tolist())
        if name not in self._constants:
            self._constants.add(name)
            self._initializer.append(numpy_helper.from_array(value, name))
        return name

    def heads(self, x: str, count: int, output: str) -> str:
        """``[batch, rows, heads * size]`` as ``[batch, heads, rows, size]``."""
        apart = self.node("Reshape", [x, self.wholes(0, 0, count, -1)], f"{output}.apart")
        return self.node("Transpose", [apart], output, perm=[0, 2, 1, 3])


def _root_mean_square(parts: _Parts, node: NodeProto) -> None:
    """``x / √(mean(x²) + ε) · weight`` over the last axis."""
    told = _attributes(node, {"axis": -1, "epsilon": 1e-5, "stash_type": 1})
    _insist(node, told["axis"] == -1, "another axis than the last")
    (x, weight), y = node.input, node.output[0]
    squares = parts.node("Mul", [x, x], f"{y}.squares")
    mean = parts.node("ReduceMean", [squares, parts.wholes(-1)], f"{y}.mean", keepdims=1)
    raised = parts.node("Add", [mean, parts.number(told["epsilon"])], f"{y}.raised")
    root = parts.node("Sqrt", [raised], f"{y}.root")
    parts.node("Mul", [parts.node("Div", [x, root], f"{y}.scaled"), weight], y)


def _rotary(parts: _Parts, node: NodeProto) -> None:
    """Halves of each head turned by the angles of their rows."""
    told = _attributes(node, {"num_heads": 0, "interleaved": 0, "rotary_embedding_dim": 0})
    whole = told["num_heads"] > 0 and not told["interleaved"] and not told["rotary_embedding_dim"]
    _insist(node, whole and len(node.input) == 3, "other forms than halves of whole heads")
    (x, cos, sin), y = node.input, node.output[0]
    apart = parts.node("Reshape", [x, parts.wholes(0, 0, told["num_heads"], -1)], f"{y}.apart")
    low, high = f"{y}.low", f"{y}.high"
    split = helper.make_node("Split", [apart], [low, high], f"{y}.halves", axis=-1, num_outputs=2)
    parts.nodes.append(split)
    # one angle for all heads of a row
    angles = [
        parts.node("Unsqueeze", [part, parts.wholes(2)], f"{y}.{name}")
        for name, part in (("cos", cos), ("sin", sin))
    ]

    def mixed(kind: str, first: str, second: str, name: str) -> str:
        terms = [
            parts.node("Mul", [half, angle], f"{y}.{name}.{index}")
            for index, (half, angle) in enumerate(zip((first, second), angles, strict=True))
        ]
        return parts.node(kind, terms, f"{y}.{name}")

    turned = [mixed("Sub", low, high, "turned_low"), mixed("Add", high, low, "turned_high")]
    joined = parts.node("Concat", turned, f"{y}.turned", axis=-1)
    parts.node("Reshape", [joined, parts.wholes(0, 0, -1)], y)


def _attention(parts: _Parts, node: NodeProto) -> None:
    """Softmax of scaled products of queries and keys, times values; several heads may share keys."""
    told = _attributes(
        node, {"q_num_heads": 0, "kv_num_heads": 0, "scale": None, "qk_matmul_output_mode": 0}
    )
    inputs, outputs = [*node.input, *[""] * 6][:6], [*node.output, *[""] * 4][:4]
    _insist(
        node, told["q_num_heads"] > 0 and not inputs[3], "a mask, or heads on an axis of their own"
    )
    _insist(node, not outputs[3] or told["qk_matmul_output_mode"] == 3, "scores before the softmax")
    y, heads, shared = outputs[0], told["q_num_heads"], told["kv_num_heads"]
    keys, values = (
        _with_past(parts, inputs[at], inputs[at + 3], shared, outputs[at] or f"{y}.joined{at}")
        for at in (1, 2)
    )
    query = parts.heads(inputs[0], heads, f"{y}.query")
    query = parts.node("Mul", [query, _scale(parts, query, told["scale"], y)], f"{y}.scaled")
    grouped = heads != shared
    if grouped:  # [batch, shared, heads a group, rows, size], against one key each
        query = parts.node("Reshape", [query, _grouping(parts, query, shared, y)], f"{y}.groups")
        keys, values = (
            parts.node("Unsqueeze", [part, parts.wholes(2)], f"{y}.{name}")
            for name, part in (("keys", keys), ("values", values))
        )
    axes = [0, 1, 2, 4, 3] if grouped else [0, 1, 3, 2]
    turned = parts.node("Transpose", [keys], f"{y}.turned", perm=axes)
    scores = parts.node("MatMul", [query, turned], f"{y}.scores")
    split = outputs[3] and not grouped
    weights = parts.node("Softmax", [scores], outputs[3] if split else f"{y}.weights", axis=-1)
    if outputs[3] and grouped:
        parts.node("Reshape", [weights, _ungrouping(parts, weights, heads, y)], outputs[3])
    mixed = parts.node("MatMul", [weights, values], f"{y}.mixed")
    axes = [0, 3, 1, 2, 4] if grouped else [0, 2, 1, 3]
    rows_first = parts.node("Transpose", [mixed], f"{y}.rows", perm=axes)
    parts.node("Reshape", [rows_first, parts.wholes(0, 0, -1)], y)


def _gather(parts: _Parts, node: NodeProto) -> None:
    """Rows of a table, or of ``[batch, rows, features]``, by ``GatherND``."""
    axis, (table, places), y = _attributes(node, {"axis": 0})["axis"], node.input, node.output[0]
    _insist(node, axis in (0, 1), "another axis than the first two")
    apart = parts.node("Unsqueeze", [places, parts.wholes(-1)], f"{y}.places")
    if axis == 0:
        parts.node("GatherND", [table, apart], y)
        return
    rows = parts.node("Transpose", [table], f"{y}.rows_first", perm=[1, 0, 2])
    chosen = parts.node("GatherND", [rows, apart], f"{y}.chosen")
    parts.node("Transpose", [chosen], y, perm=[1, 0, 2])


def _with_past(parts: _Parts, fresh: str, past: str, heads: int, output: str) -> str:
    """Keys or values, ``[batch, heads, rows, size]``, behind those of the cache where there are any."""
    if not past:
        return parts.heads(fresh, heads, output)
    return parts.node(
        "Concat", [past, parts.heads(fresh, heads, f"{output}.fresh")], output, axis=2
    )


def _scale(parts: _Parts, query: str, scale: float | None, y: str) -> str:
    """The factor of products; one over the root of a head's size unless the node says otherwise."""
    if scale is not None:
        return parts.number(scale)
    shape = parts.node("Shape", [query], f"{y}.size", start=3)
    size = parts.node("Cast", [shape], f"{y}.float_size", to=onnx.TensorProto.FLOAT)
    return parts.node("Reciprocal", [parts.node("Sqrt", [size], f"{y}.root_size")], f"{y}.scale")


def _grouping(parts: _Parts, query: str, shared: int, y: str) -> str:
    """The shape that puts heads which share a key on an axis of their own."""
    ends = parts.node("Shape", [query], f"{y}.ends", start=2)
    first = parts.wholes(0, shared, -1)
    return parts.node("Concat", [first, ends], f"{y}.grouping", axis=0)


def _ungrouping(parts: _Parts, weights: str, heads: int, y: str) -> str:
    """The shape that takes such an axis away."""
    ends = parts.node("Shape", [weights], f"{y}.weight_ends", start=3)
    return parts.node("Concat", [parts.wholes(0, heads), ends], f"{y}.ungrouping", axis=0)


def _attributes(node: NodeProto, known: dict[str, Any]) -> dict[str, Any]:
    """A node's attributes over what they are where it does not say."""
    told = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    _insist(node, told.keys() <= known.keys(), f"attributes {sorted(told.keys() - known.keys())}")
    return known | told


def _insist(node: NodeProto, holds: bool, what: str) -> None:
    if not holds:
        raise InputError(
            f"node {node.name}: a {node.op_type} with {what} is not written out in simpler operators; "
            "export the model for a runtime that has the operator"
        )


_WRITERS: dict[str, Callable[[_Parts, NodeProto], None]] = {
    "Attention": _attention,
    "Gather": _gather,
    "RotaryEmbedding": _rotary,
    "RMSNormalization": _root_mean_square,
}
