"""``w8a8``: 8-bit weights with one scale an output channel, inputs quantised at every pass.

Weights are symmetric, and two neighbours' codes add up to at most 128 (`with_paired_codes`): a scale
two fifths wider than the largest weight alone would ask for, whose error is still far below that of
the inputs. These are uint8 with one scale and zero point a sample (the operator DynamicQuantizeLinear).
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hwsearch.formats.weight_format import Format
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray
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
        """MatMul to MatMulInteger, by onnxruntime's dynamic quantiser, with codes of our own."""
        planned = [name for name, fmt in formats.items() if fmt is self.name]
        if not planned:
            return model
        import onnx
        from onnx import numpy_helper
        from onnxruntime.quantization import QuantType, quantize_dynamic

        read = {node.input[1] for node in model.graph.node if node.name in planned}
        weights = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in model.graph.initializer
            if tensor.name in read
        }
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
            return with_paired_codes(onnx.load(path), weights)


def with_paired_codes(
    model: onnx.ModelProto, weights: Mapping[str, NDArray[np.floating]]
) -> onnx.ModelProto:
    """Write int8 weights whose neighbours have room for each other: exact and quick in every session.

    x86 without VNNI multiplies uint8 inputs with int8 weights two at a time and adds each two in 16
    bits. Two products of 255 * 127 overflow them, so the scales that onnxruntime's quantiser takes
    give wrong numbers there without a word. Where two neighbours' codes add up to at most 128, signs
    aside, nothing overflows: 255 * 128 < 2 ** 15. uint8 weights are exact, too, but take a fifth
    longer without VNNI, and know nothing of it elsewhere.

    Args:
        model: as the quantiser left it; changed in place.
        weights: ``[in, out]`` of its products, by name.
    """
    import numpy as np
    from onnx import numpy_helper

    new: dict[str, NDArray[np.generic]] = {}
    for name, weight in weights.items():
        exact = np.ascontiguousarray(weight, dtype=np.float32).T
        scale = _paired_scale(np.abs(exact))
        new[f"{name}_quantized"] = np.rint(exact / scale[:, None]).astype(np.int8).T
        new[f"{name}_scale"] = scale
        new[f"{name}_zero_point"] = np.zeros(len(scale), np.int8)
    for tensor in model.graph.initializer:
        if tensor.name in new:
            array = new.pop(tensor.name).reshape(tuple(tensor.dims))
            tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array), tensor.name))
    assert not new, f"the quantiser calls {sorted(new)} something else"
    return model


def _paired_scale(magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales ``[out]`` of magnitudes ``[out, in]``: the largest sum of two neighbours is 127 steps.

    Rounding moves each of the two by half a step at most, so their codes add up to 128 at most.
    Where a scale would be subnormal it is 1, and the codes are zeros.
    """
    import numpy as np

    padded = np.pad(magnitude, ((0, 0), (0, magnitude.shape[1] % 2))).astype(np.float64)
    wide = (padded[:, 0::2] + padded[:, 1::2]).max(axis=1) / 127
    return np.where(wide >= np.finfo(np.float32).tiny, wide, 1.0).astype(np.float32)


def round_channels(weight: Tensor) -> Tensor:
    """Weights ``[out, in]`` at 8 bits, one scale an output channel, as `with_paired_codes` does."""
    import torch

    exact = weight.float()
    scale = torch.from_numpy(_paired_scale(exact.abs().cpu().numpy())).to(exact.device)[:, None]
    return ((exact / scale).round() * scale).to(weight.dtype)


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
