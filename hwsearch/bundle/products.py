"""Quantise a graph product by product: each weight's codes are made when they are written.

So a model of any size can be quantised, and a weight that both graphs of a bundle (or several plans)
hold in one format is encoded once for each file.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import onnx
from numpy.typing import NDArray
from onnx import helper

from hwsearch.bundle.rounded import NONE_ROUNDED, CodedMatrix, RoundedProducts
from hwsearch.bundle.weights import Array, Graph, Weight, WeightGroup, declared, matrix_of
from hwsearch.errors import PlanError
from hwsearch.formats.catalog import ONNX_FORMATS, format_of
from hwsearch.formats.weight_format import CONTRIB, Spec
from hwsearch.plan import LINEAR_GROUPS, CompressionPlan, WeightFormat
from hwsearch.runtime.providers.int8 import PAIRED


def product_formats(plan: CompressionPlan) -> dict[str, WeightFormat]:
    """The format of every product of the exported graphs, by its node's name.

    `hwsearch.bundle.graphs.pieces.LayerPiece` names them as plans do.
    """
    formats = {
        f"layers.{index}.{group}": WeightFormat(getattr(layer, group))
        for index, layer in enumerate(plan.layers)
        for group in LINEAR_GROUPS
    }
    return formats | {"head": plan.head}


class EncodedMatrix(WeightGroup):
    """The arrays of a product in a format, made from its float matrix some outputs at a time.

    Args:
        name: of the product.
        fmt: its format.
        matrix: makes its float weight ``[in, out]``.
    """

    def __init__(self, name: str, fmt: WeightFormat, matrix: WeightGroup) -> None:
        (whole,) = matrix.specs.values()
        self.form, self.matrix, self.prefix = format_of(fmt), matrix, f"{name}.weight"
        self.outputs, self.at_once = matrix.outputs, matrix.at_once
        parts = self.form.specs(*whole.shape)
        self.specs: Mapping[str, Spec] = {self.prefix + part: spec for part, spec in parts.items()}

    def make(self, start: int, stop: int) -> Mapping[str, Array]:
        """Codes of some outputs."""
        (piece,) = self.matrix.make(start, stop).values()
        codes = self.form.encode(cast("NDArray[Any]", piece))
        return {self.prefix + part: array for part, array in codes.items()}


class ProductBank:
    """Products of one network by name and format, so that its graphs share their weights."""

    def __init__(self) -> None:
        self._encoded: dict[object, WeightGroup] = {}

    def quantise(
        self,
        graph: Graph,
        formats: Mapping[str, WeightFormat],
        rounded: RoundedProducts = NONE_ROUNDED,
    ) -> Graph:
        """A copy of a graph with each of its named products in a format.

        Args:
            graph: of the bank's network.
            formats: of each product, by its node's name.
            rounded: what products were rounded to by calibration; others are rounded now.

        Raises:
            PlanError: a format that onnxruntime does not run.
        """
        refuse_unknown(formats)
        graph = rounded.fold(graph)
        model, weights = graph.copy().model, dict(graph.weights)
        nodes, replaced = [], set()
        for node in graph.model.graph.node:
            fmt = formats.get(node.name, WeightFormat.FP32)
            if fmt is WeightFormat.FP32:
                nodes.append(node)
                continue
            replaced.add(node.input[1])
            weight = graph.weight(node.input[1])
            group = self._of(node.name, fmt, weight, rounded)
            nodes.extend(_between(node, fmt, weight.shape))
            for name, weight in group.weights().items():
                tensor, apart = declared(name, weight)
                model.graph.initializer.append(tensor)
                if apart is not None:
                    weights[name] = apart
        del model.graph.node[:]
        model.graph.node.extend(nodes)
        _import_contrib(model)
        _drop_unused(model, weights, replaced)
        check_formats(model, formats)
        note_pairs(model, formats)
        return Graph(model, weights)

    def _of(
        self, name: str, fmt: WeightFormat, weight: Weight, rounded: RoundedProducts
    ) -> WeightGroup:
        known = rounded.weights.get(name)
        key = name, fmt, weight.group, None if known is None else rounded
        if key not in self._encoded:
            self._encoded[key] = (
                EncodedMatrix(name, fmt, matrix_of(weight))
                if known is None
                else CodedMatrix(
                    name, fmt, known, weight.shape[0], rounded.factors.get(f"{name}.weight")
                )
            )
        return self._encoded[key]


def quantise_products(
    model: onnx.ModelProto, formats: Mapping[str, WeightFormat]
) -> onnx.ModelProto:
    """A copy of a small graph, its weights inside, with each of its MatMul nodes in a format.

    Raises:
        PlanError: a format that onnxruntime does not run.
    """
    return ProductBank().quantise(Graph(model, {}), formats).whole()


def refuse_unknown(formats: Mapping[str, WeightFormat]) -> None:
    """Raise `PlanError` for a format that onnxruntime does not run."""
    for name, fmt in formats.items():
        if fmt not in ONNX_FORMATS:
            raise PlanError(
                f"{name}: format must be one of {', '.join(ONNX_FORMATS)} to run on onnxruntime; "
                f"got {fmt.value!r}"
            )


def check_formats(model: onnx.ModelProto, formats: Mapping[str, WeightFormat]) -> None:
    """Assert that every product is in its format, and that no other product is quantised."""
    operators = {name: told for name in ONNX_FORMATS if (told := format_of(name).operator)}
    found = {node.name: node.op_type for node in model.graph.node}
    planned = {name: operators[fmt] for name, fmt in formats.items()}
    for name, (operator, suffix) in planned.items():
        real = found.get(name + suffix)
        assert real == operator, f"{name} must be {operator}, but the graph has {real}"
    # products of floats go by the same operator, whether they are planned or the graph's own
    plain = format_of(WeightFormat.FP32).operator
    assert plain is not None
    for operator in {operator for operator, _ in operators.values()} - {plain[0]}:
        count = sum(told[0] == operator for told in planned.values())
        real_count = sum(op == operator for op in found.values())
        assert real_count == count, f"{real_count} {operator} nodes, {count} planned"


def note_pairs(model: onnx.ModelProto, formats: Mapping[str, WeightFormat]) -> None:
    """Say in a graph's metadata that its int8 products are exact, so that no session need ask for it."""
    if WeightFormat.W8A8 in formats.values():
        model.metadata_props.add(key=PAIRED, value="1")


def _between(
    place: onnx.NodeProto, fmt: WeightFormat, shape: tuple[int, ...]
) -> list[onnx.NodeProto]:
    """The product's nodes, with the input and the output of the node they replace."""
    ends = {"x": place.input[0], "y": place.output[0]}
    nodes = format_of(fmt).nodes(place.name, *shape)
    for node in nodes:
        node.input[:] = [ends.get(part, part) for part in node.input]
        node.output[:] = [ends.get(part, part) for part in node.output]
    return nodes


def _import_contrib(model: onnx.ModelProto) -> None:
    used = {node.domain for node in model.graph.node}
    known = {opset.domain for opset in model.opset_import}
    if CONTRIB in used - known:
        model.opset_import.append(helper.make_opsetid(CONTRIB, 1))


def _drop_unused(model: onnx.ModelProto, weights: dict[str, Weight], replaced: set[str]) -> None:
    """Remove float weights that no node reads any more."""
    read = {name for node in model.graph.node for name in node.input}
    unread = replaced - read
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in unread]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for name in unread:
        weights.pop(name, None)
