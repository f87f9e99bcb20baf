"""Give every product of a float graph the format its plan says, with onnxruntime's own quantisers."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping

import onnx

from hwsearch.errors import PlanError
from hwsearch.formats.catalog import FORMATS, ONNX_FORMATS
from hwsearch.plan import CompressionPlan, WeightFormat
from hwsearch.runtime.graphs import PAIRED

#: Products of each group of a layer, as `hwsearch.bundle.graphs.FusedLayer` names them.
_GROUP_PRODUCTS = {"attention": ("qkv", "out"), "mlp": ("gate_up", "down")}

#: Operators of products, by format.
_OPERATORS = {name: form.operator for name, form in FORMATS.items() if form.operator is not None}

#: Formats whose quantiser leaves every other product alone go before those that must know all.
_ORDER = sorted(FORMATS.values(), key=lambda form: not form.is_alone)


def product_formats(plan: CompressionPlan) -> dict[str, WeightFormat]:
    """The format of every product of the exported graphs, by its node's name."""
    formats = {
        f"layers.{index}.{product}": WeightFormat(getattr(layer, group))
        for index, layer in enumerate(plan.layers)
        for group, products in _GROUP_PRODUCTS.items()
        for product in products
    }
    return formats | {"head": plan.head}


def quantise_products(model: onnx.ModelProto, formats: dict[str, WeightFormat]) -> onnx.ModelProto:
    """A copy of a graph with each of its MatMul nodes, by name, in a format.

    Raises:
        PlanError: a format that onnxruntime does not run.
    """
    refuse_unknown(formats)
    source, model = model, onnx.ModelProto()
    model.CopyFrom(source)  # the quantisers write into what they are given
    with _quiet():
        for form in _ORDER:
            model = form.quantise(model, formats)
    check_formats(model, formats)
    note_pairs(model, formats)
    return model


def note_pairs(model: onnx.ModelProto, formats: Mapping[str, WeightFormat]) -> None:
    """Say in a graph's metadata that its int8 products are exact, so that no session need ask for it."""
    if WeightFormat.W8A8 in formats.values():
        model.metadata_props.add(key=PAIRED, value="1")


def refuse_unknown(formats: Mapping[str, WeightFormat]) -> None:
    """Raise `PlanError` for a format that onnxruntime does not run."""
    for name, fmt in formats.items():
        if fmt not in ONNX_FORMATS:
            raise PlanError(
                f"{name}: format must be one of {', '.join(ONNX_FORMATS)} to run on onnxruntime; "
                f"got {fmt.value!r}"
            )


def check_formats(model: onnx.ModelProto, formats: dict[str, WeightFormat]) -> None:
    """Assert that every product is in its format, and that no other product is quantised."""
    found = {node.name: node.op_type for node in model.graph.node}
    for name, fmt in formats.items():
        operator, suffix = _OPERATORS[fmt]
        real = found.get(name + suffix)
        assert real == operator, f"{name} must be {operator} for {fmt}, but the graph has {real}"
    quantised = {operator for operator, suffix in _OPERATORS.values() if suffix}
    for operator in sorted(quantised):
        planned = sum(_OPERATORS[fmt][0] == operator for fmt in formats.values())
        real_count = sum(op == operator for op in found.values())
        assert real_count == planned, f"{real_count} {operator} nodes, {planned} planned"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantisers from setting up the root logger (on import) and reporting every node to it."""
    root = logging.getLogger()
    handlers, level, disabled = list(root.handlers), root.level, root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(disabled)
        root.setLevel(level)
        root.handlers[:] = handlers
