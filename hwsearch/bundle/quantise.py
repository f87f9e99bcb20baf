"""Give every product of a float graph the format its plan says, with onnxruntime's own quantisers."""

from __future__ import annotations

import contextlib
import logging
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from hwsearch.compression.formats import BLOCK_BITS, BLOCK_SIZE
from hwsearch.errors import PlanError
from hwsearch.plan import CompressionPlan, WeightFormat

#: Products of each group of a layer, as `hwsearch.bundle.graphs.FusedLayer` names them.
_GROUP_PRODUCTS = {"attention": ("qkv", "out"), "mlp": ("gate_up", "down")}

#: What a product of each format is called once quantised: operator, and suffix of its name.
_OPERATORS = {
    WeightFormat.FP32: ("MatMul", ""),
    WeightFormat.W8A8: ("MatMulInteger", "_quant"),
    WeightFormat.W8: ("MatMulNBits", "_Q8"),
    WeightFormat.W4: ("MatMulNBits", "_Q4"),
}

#: Formats that the exported graphs can be in.
FORMATS = tuple(_OPERATORS)

#: ``accuracy_level`` of MatMulNBits at which inputs are rounded to int8.
_INT8_INPUTS = 4


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

    The block formats go first: their quantiser leaves every other product alone, while the
    dynamic one would need to be told of the operators it does not know.

    Raises:
        PlanError: a format that onnxruntime does not run.
    """
    refuse_unknown(formats)
    source, model = model, onnx.ModelProto()
    model.CopyFrom(source)  # the quantisers write into what they are given
    with _quiet():
        for fmt in BLOCK_BITS:
            model = _quantise_blocks(model, fmt, formats)
        model = _quantise_dynamic(model, formats)
    check_formats(model, formats)
    return model


def refuse_unknown(formats: Mapping[str, WeightFormat]) -> None:
    """Raise `PlanError` for a format that onnxruntime does not run."""
    for name, fmt in formats.items():
        if fmt not in FORMATS:
            raise PlanError(
                f"{name}: format must be one of {', '.join(FORMATS)} to run on onnxruntime; "
                f"got {fmt.value!r}"
            )


def check_formats(model: onnx.ModelProto, formats: dict[str, WeightFormat]) -> None:
    """Assert that every product is in its format, and that no other product is quantised."""
    found = {node.name: node.op_type for node in model.graph.node}
    for name, fmt in formats.items():
        operator, suffix = _OPERATORS[fmt]
        real = found.get(name + suffix)
        assert real == operator, f"{name} must be {operator} for {fmt}, but the graph has {real}"
    for operator in ("MatMulInteger", "MatMulNBits"):
        planned = sum(_OPERATORS[fmt][0] == operator for fmt in formats.values())
        real_count = sum(op == operator for op in found.values())
        assert real_count == planned, f"{real_count} {operator} nodes, {planned} planned"


def _quantise_blocks(
    model: onnx.ModelProto, fmt: WeightFormat, formats: dict[str, WeightFormat]
) -> onnx.ModelProto:
    if fmt not in formats.values():
        return model
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantiser = MatMulNBitsQuantizer(
        model,
        bits=BLOCK_BITS[fmt],
        block_size=BLOCK_SIZE,
        is_symmetric=True,
        accuracy_level=_INT8_INPUTS,
        nodes_to_exclude=[name for name, other in formats.items() if other is not fmt],
    )
    quantiser.process()
    return quantiser.model.model


def _quantise_dynamic(model: onnx.ModelProto, formats: dict[str, WeightFormat]) -> onnx.ModelProto:
    planned = [name for name, fmt in formats.items() if fmt is WeightFormat.W8A8]
    if not planned:
        return model
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantised.onnx"
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_quantize=planned,
        )
        return _unsigned(onnx.load(path))


def _unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write int8 weights as uint8 with zero point 128: the same products, exact in every session.

    On x86 without VNNI, uint8 inputs times int8 weights add up in pairs of 16 bits, which two large
    products overflow, unless the session sets an option. Times uint8 weights they do not. The codes
    are the int8 ones, 128 higher: onnxruntime's own uint8 codes would use one value less at the top.
    """
    integer = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    names = {node.input[index] for node in integer for index in (1, 3)}
    for tensor in model.graph.initializer:
        if tensor.name in names and tensor.data_type == TensorProto.INT8:
            codes = numpy_helper.to_array(tensor).view(np.uint8) ^ np.uint8(128)
            tensor.CopyFrom(numpy_helper.from_array(codes, tensor.name))
    return model


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
