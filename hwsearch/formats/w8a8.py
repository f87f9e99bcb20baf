"""``w8a8``: 8-bit weights with one scale an output channel, inputs quantised at every pass.

Weights are symmetric, and two neighbours' codes add up to at most 128, signs aside: a scale two fifths
wider than the largest weight alone would ask for, whose error is still far below that of the inputs.
These are uint8 with one scale and zero point a sample (the operator DynamicQuantizeLinear).

Why neighbours share: x86 without VNNI multiplies uint8 inputs with int8 weights two at a time and adds
each two in 16 bits. Two products of 255 * 127 overflow them, so the scales that onnxruntime's quantiser
takes give wrong numbers there without a word. 255 * 128 < 2 ** 15 does not. uint8 weights are exact,
too, but take a fifth longer without VNNI, and know nothing of it elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwsearch.formats.integer_format import IntegerFormat
from hwsearch.formats.weight_format import Spec
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor

    from hwsearch.formats.weight_format import Codes


class W8A8(IntegerFormat):
    """8-bit weights and 8-bit activations, multiplied as integers."""

    name = WeightFormat.W8A8
    text = "8-bit weights (one scale an output channel) and 8-bit activations, quantised per pass."
    bits = 8
    bytes_per_weight = 1.0
    rounds_inputs_whole = True
    mac_pj = 0.2 + 0.1
    operator = ("MatMulInteger", "_quant")
    scaled_part = "_scale"
    low, high, pair_sum = -127, 127, 128

    def specs(self, inputs: int, outputs: int) -> dict[str, Spec]:
        """A byte a weight ``[in, out]``; a float scale and an 8-bit zero point an output."""
        return {
            "_quantized": Spec(np.dtype(np.int8), (inputs, outputs), 1),
            "_scale": Spec(np.dtype(np.float32), (outputs,), 0),
            "_zero_point": Spec(np.dtype(np.int8), (outputs,), 0),
        }

    def encode(self, matrix: NDArray[np.float32]) -> Codes:
        """Codes with paired room."""
        exact = np.ascontiguousarray(matrix, dtype=np.float32).T
        scale = _paired_scale(np.abs(exact))
        return {
            "_quantized": np.rint(exact / scale[:, None]).astype(np.int8).T,
            "_scale": scale,
            "_zero_point": np.zeros(len(scale), np.int8),
        }

    def decode(self, codes: Codes, inputs: int) -> NDArray[np.float32]:
        """Codes times their output's scale."""
        scale: NDArray[np.float32] = np.asarray(codes["_scale"], dtype=np.float32)
        return codes["_quantized"].T.astype(np.float32) * scale[:, None]

    def scales(self, codes: Codes) -> NDArray[np.float32]:
        """One an output."""
        return np.asarray(codes["_scale"], dtype=np.float32)[:, None]

    def pack(
        self,
        numbers: NDArray[np.int8],
        scales: NDArray[np.float32],
        points: NDArray[np.uint8] | None = None,
    ) -> Codes:
        """Numbers as they are."""
        scale = np.ascontiguousarray(scales[:, 0], dtype=np.float32)
        zero = np.zeros(len(scale), np.int8)
        return {"_quantized": numbers.astype(np.int8).T, "_scale": scale, "_zero_point": zero}

    def round_inputs(self, x: Tensor) -> Tensor:
        """uint8 by sample."""
        return round_samples(x)

    def nodes(self, name: str, inputs: int, outputs: int) -> list[onnx.NodeProto]:
        """Inputs quantised, multiplied as integers, and scaled back."""
        from onnx import TensorProto, helper

        codes, scale, zero = (f"{name}.weight{part}" for part in self.specs(inputs, outputs))
        x = [f"{name}.x_{part}" for part in ("quantized", "scale", "zero_point")]
        scales, product, sums = (f"{name}.{part}" for part in ("scales", "product", "sums"))
        make = helper.make_node
        return [
            make("DynamicQuantizeLinear", ["x"], x, f"{name}_input_quant"),
            make("Mul", [x[1], scale], [scales], f"{name}_scales_mul"),
            make("MatMulInteger", [x[0], codes, x[2], zero], [product], f"{name}_quant"),
            make("Cast", [product], [sums], f"{name}_cast", to=TensorProto.FLOAT),
            make("Mul", [sums, scales], ["y"], f"{name}_output_mul"),
        ]


def _paired_scale(magnitude: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scales ``[out]`` of magnitudes ``[out, in]``: the largest sum of two neighbours is 127 steps.

    Rounding moves each of the two by half a step at most, so their codes add up to 128 at most.
    Where a scale would be subnormal it is 1, and the codes are zeros.
    """
    odd = magnitude.shape[1] % 2
    padded = np.pad(magnitude, ((0, 0), (0, 1))) if odd else magnitude
    wide = (padded[:, 0::2].astype(np.float64) + padded[:, 1::2]).max(axis=1) / 127
    return np.where(wide >= np.finfo(np.float32).tiny, wide, 1.0).astype(np.float32)


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
