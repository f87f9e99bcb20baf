"""``w8a8``: 8-bit weights with one scale an output channel, inputs quantised at every pass.

Weights are symmetric (``quantize_dynamic(per_channel=True)``). Inputs are uint8 with one scale and
zero point a sample (the operator DynamicQuantizeLinear).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hwsearch.formats.weight_format import Format
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn


class W8A8(Format):
    """8-bit weights and 8-bit activations, multiplied as integers."""

    name = WeightFormat.W8A8
    text = "8-bit weights (one scale an output channel) and 8-bit activations, quantised per pass."
    bits = 8
    bytes_per_weight = 1.0
    mac_pj = 0.2 + 0.1
    operator = ("MatMulInteger", "_quant")
    # onnxruntime's dynamic quantiser wants to know every operator of the graph
    is_alone = False

    def matrix_bytes(self, out_features: int, in_features: int) -> int:
        """A byte a weight; a float scale and an 8-bit zero point an output."""
        return out_features * (in_features + 5)

    def simulate(self, linear: nn.Linear) -> nn.Module:
        """The linear with weights rounded by channel and inputs by sample."""
        from hwsearch.formats.simulated_linear import simulated

        return simulated(linear, round_channels, round_samples)

    def quantise(
        self, model: onnx.ModelProto, formats: Mapping[str, WeightFormat]
    ) -> onnx.ModelProto:
        """MatMul to MatMulInteger, by onnxruntime's dynamic quantiser."""
        planned = [name for name, fmt in formats.items() if fmt is self.name]
        if not planned:
            return model
        import onnx
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
            return as_unsigned(onnx.load(path))


def as_unsigned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Write int8 weights as uint8 with zero point 128: the same products, exact in every session.

    On x86 without VNNI, uint8 inputs times int8 weights add up in pairs of 16 bits, which two large
    products overflow, unless the session sets an option. Times uint8 weights they do not. The codes
    are the int8 ones, 128 higher: onnxruntime's own uint8 codes would use one value less at the top.
    """
    import numpy as np
    from onnx import TensorProto, numpy_helper

    integer = [node for node in model.graph.node if node.op_type == "MatMulInteger"]
    names = {node.input[index] for node in integer for index in (1, 3)}
    for tensor in model.graph.initializer:
        if tensor.name in names and tensor.data_type == TensorProto.INT8:
            codes = numpy_helper.to_array(tensor).view(np.uint8) ^ np.uint8(128)
            tensor.CopyFrom(numpy_helper.from_array(codes, tensor.name))
    return model


def round_channels(weight: Tensor) -> Tensor:
    """Weights ``[out, in]`` at 8 bits, -127..127, one scale an output channel.

    Channels whose scale would be subnormal become zeros, as onnxruntime makes them: it takes scales
    below the smallest normal float for 1.
    """
    import torch

    exact = weight.float()
    wide = 2 * exact.abs().amax(dim=1, keepdim=True).double() / 254
    scale = torch.where(wide >= torch.finfo(torch.float32).tiny, wide, 1.0).float()
    return ((exact / scale).round().clamp(-127, 127) * scale).to(weight.dtype)


def round_samples(x: Tensor) -> Tensor:
    """Inputs at uint8 with one scale and zero point a sample (ONNX operator DynamicQuantizeLinear).

    The scale spans a whole tensor of a deployed pass, whose batch is 1; so here it spans
    ``[rows, features]`` of each sample of ``[batch, rows, features]``.
    """
    import torch

    exact = x.float()
    dims = tuple(range(1, x.dim())) if x.dim() > 2 else tuple(range(x.dim()))
    low = exact.amin(dim=dims, keepdim=True).clamp(max=0)
    high = exact.amax(dim=dims, keepdim=True).clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale > 0, scale, 1.0)
    zero = (-low / scale).round().clamp(0, 255)
    return ((exact / scale).round() + zero).clamp(0, 255).sub(zero).mul(scale).to(x.dtype)
