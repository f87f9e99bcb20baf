"""Quantise a graph product by product: each weight alone goes through onnxruntime's quantisers.

Their result is put where the product was. So a model of any size can be quantised, and a weight
that both graphs of a bundle (or several plans) hold in one format is quantised once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hwsearch.bundle.quantise import (
    check_formats,
    note_pairs,
    quantise_products,
    refuse_unknown,
)
from hwsearch.bundle.weights import Graph, detached
from hwsearch.plan import WeightFormat

_INPUT, _OUTPUT = "x", "y"


@dataclass(frozen=True)
class Product:
    """A quantised product between its own names; `weights` are its large initializers."""

    nodes: tuple[onnx.NodeProto, ...]
    initializers: tuple[onnx.TensorProto, ...]
    weights: Mapping[str, NDArray[np.generic]]
    opsets: tuple[onnx.OperatorSetIdProto, ...]


class ProductBank:
    """Products of one network, quantised when first asked for."""

    def __init__(self) -> None:
        self._products: dict[tuple[str, WeightFormat], Product] = {}

    def quantise(self, graph: Graph, formats: Mapping[str, WeightFormat]) -> Graph:
        """A copy of a graph with each of its named products in a format.

        Args:
            graph: of the bank's network.
            formats: of each product, by its node's name.

        Raises:
            PlanError: a format that onnxruntime does not run.
        """
        refuse_unknown(formats)
        model, weights = graph.copy().model, dict(graph.weights)
        nodes, replaced = [], set()
        for node in graph.model.graph.node:
            fmt = formats.get(node.name, WeightFormat.FP32)
            if fmt is WeightFormat.FP32:
                nodes.append(node)
                continue
            replaced.add(node.input[1])
            product = self._product(node.name, fmt, graph.value(node.input[1]))
            nodes.extend(_between(product, node))
            model.graph.initializer.extend(product.initializers)
            weights.update(product.weights)
            _import(model, product.opsets)
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        _drop_unused(model, weights, replaced)
        check_formats(model, dict(formats))
        note_pairs(model, formats)
        return Graph(model, weights)

    def _product(self, name: str, fmt: WeightFormat, weight: NDArray[np.generic]) -> Product:
        key = (name, fmt)
        if key not in self._products:
            self._products[key] = quantised_product(name, fmt, weight)
        return self._products[key]


def quantised_product(name: str, fmt: WeightFormat, weight: NDArray[np.generic]) -> Product:
    """The product of rows with a weight ``[in, out]`` in a format; every name begins with `name`."""
    rows, columns = weight.shape
    x = helper.make_tensor_value_info(_INPUT, TensorProto.FLOAT, [1, None, rows])
    y = helper.make_tensor_value_info(_OUTPUT, TensorProto.FLOAT, [1, None, columns])
    node = helper.make_node("MatMul", [_INPUT, f"{name}.weight"], [_OUTPUT], name=name)
    held = numpy_helper.from_array(weight, f"{name}.weight")
    graph = helper.make_graph([node], "product", [x], [y], [held])
    opsets = [helper.make_opsetid("", 23)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    model = quantise_products(model, {name: fmt})
    _prefix(model, name)
    initializers = tuple(model.graph.initializer)
    taken = {tensor.name: detached(tensor) for tensor in initializers}
    weights = {tensor: array for tensor, array in taken.items() if array is not None}
    return Product(tuple(model.graph.node), initializers, weights, tuple(model.opset_import))


def _prefix(model: onnx.ModelProto, name: str) -> None:
    """Begin every name with the product's, but for its input and output."""

    def full(part: str) -> str:
        known = part in ("", _INPUT, _OUTPUT) or part.startswith(name)
        return part if known else f"{name}.{part}"

    for tensor in model.graph.initializer:
        tensor.name = full(tensor.name)
    for node in model.graph.node:
        node.name = full(node.name)
        node.input[:] = [full(part) for part in node.input]
        node.output[:] = [full(part) for part in node.output]


def _between(product: Product, place: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The product's nodes, with the input and the output of the node they replace."""
    ends = {_INPUT: place.input[0], _OUTPUT: place.output[0]}
    nodes = []
    for source in product.nodes:
        node = onnx.NodeProto()
        node.CopyFrom(source)
        node.input[:] = [ends.get(part, part) for part in node.input]
        node.output[:] = [ends.get(part, part) for part in node.output]
        nodes.append(node)
    return nodes


def _import(model: onnx.ModelProto, opsets: tuple[onnx.OperatorSetIdProto, ...]) -> None:
    known = {opset.domain for opset in model.opset_import}
    model.opset_import.extend(opset for opset in opsets if opset.domain not in known)


def _drop_unused(
    model: onnx.ModelProto, weights: dict[str, NDArray[np.generic]], replaced: set[str]
) -> None:
    """Remove float weights that no node reads any more."""
    read = {name for node in model.graph.node for name in node.input}
    unread = replaced - read
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in unread]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for name in unread:
        weights.pop(name, None)
