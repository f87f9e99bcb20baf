"""Keep one copy of a float output head that is the embedding.

The embedding is read row by row and the head multiplies by its transpose, so as plain products of
a graph they are two arrays. Here the head's weight becomes the transpose of the embedding, which
onnxruntime computes once, when it opens the graph; a pass takes as long as before.
"""

from __future__ import annotations

import numpy as np
from onnx import NodeProto, helper

from hwsearch.bundle.weights import Array, Graph


def share_head(graph: Graph, head: str, embedding: str | None = None) -> Graph:
    """A graph whose head is read from the embedding; the graph itself where its head has a format.

    Args:
        graph: of a network whose head is tied, its products in their formats.
        head: name of the head's node.
        embedding: name of the embedding; None looks for an array that is the head's transpose.
    """
    node = next((n for n in graph.model.graph.node if n.name == head), None)
    if node is None or node.op_type != "MatMul":
        return graph
    if embedding is None:
        embedding = _embedding(graph, graph.value(node.input[1]))
    return graph if embedding is None else _transposed(graph, head, embedding)


def _embedding(graph: Graph, weight: Array) -> str | None:
    """The array ``[vocab, hidden]`` of a Gather that is the transpose of a weight."""
    sizes = {t.name: tuple(t.dims) for t in graph.model.graph.initializer}
    for node in graph.model.graph.node:
        name = node.input[0] if node.op_type == "Gather" else ""
        if sizes.get(name) == weight.shape[::-1] and np.array_equal(graph.value(name).T, weight):
            return name
    return None


def _transposed(graph: Graph, head: str, embedding: str) -> Graph:
    model, weights = graph.copy().model, dict(graph.weights)
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node.name == head:
            weight, shared = node.input[1], f"{head}.transposed"
            nodes.append(helper.make_node("Transpose", [embedding], [shared], shared, perm=[1, 0]))
            node.input[1] = shared
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    kept = [tensor for tensor in model.graph.initializer if tensor.name != weight]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    weights.pop(weight, None)
    return Graph(model, weights)
