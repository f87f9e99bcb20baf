"""``fp8``: 8-bit floats (E4M3) with one scale an output, inputs with one scale a row at every pass.

As vLLM and torch multiply them on GPUs that have such products. onnxruntime's CPU kernels have none: there a
graph rounds to 8 bits and multiplies floats, as exactly and no faster. The type: arXiv 2209.05433.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsearch.formats.weight_format import Format, Spec
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor

    from hwsearch.formats.weight_format import Codes

#: Largest value of the type, and the least scale: rows of zeros have it.
LARGEST, LEAST = 448.0, 1e-30


class Fp8(Format):
    """8-bit float weights and activations; sums stay in float32."""

    name = WeightFormat.FP8
    text = "8-bit float weights (one scale an output channel) and activations (one a row)."
    bits = 8
    bytes_per_weight = 1.0
    # of an 8-bit product and a 16-bit float sum: of 8-bit floats the source has no figure
    mac_pj = 0.2 + 0.4
    operator = ("QuantizeLinear", "_input_quant")
    scaled_part = "_scale"

    def specs(self, inputs: int, outputs: int) -> dict[str, Spec]:
        """A byte a weight ``[in, out]`` and a float scale an output."""
        return {
            "_quantized": Spec(float8(), (inputs, outputs), 1),
            "_scale": Spec(np.dtype(np.float32), (outputs,), 0),
        }

    def encode(self, matrix: NDArray[np.float32]) -> Codes:
        """The nearest 8-bit floats; the largest weight of an output is the largest of them."""
        exact = np.asarray(matrix, dtype=np.float32)
        scale = np.abs(exact).max(axis=0) * np.float32(1 / LARGEST)
        scale = np.where(scale >= np.finfo(np.float32).tiny, scale, np.float32(1.0))
        numbers = np.clip(exact / scale, -LARGEST, LARGEST)
        return {"_quantized": numbers.astype(float8()), "_scale": scale}

    def decode(self, codes: Codes, inputs: int) -> NDArray[np.float32]:
        """Codes times their output's scale."""
        scale: NDArray[np.float32] = np.asarray(codes["_scale"], dtype=np.float32)
        return np.ascontiguousarray((codes["_quantized"].astype(np.float32) * scale).T)

    def round_inputs(self, x: Tensor) -> Tensor:
        """8-bit floats by row."""
        import torch

        exact = x.float()
        scale = (exact.abs().amax(dim=-1, keepdim=True) * (1 / LARGEST)).clamp(min=LEAST)
        numbers = (exact / scale).clamp(-LARGEST, LARGEST).to(torch.float8_e4m3fn)
        return numbers.float().mul(scale).to(x.dtype)

    def nodes(self, name: str, inputs: int, outputs: int) -> list[onnx.NodeProto]:
        """Inputs to 8 bits and back, weights back, and the product of the two."""
        from onnx import TensorProto, helper

        codes, scale = (f"{name}.weight{part}" for part in self.specs(inputs, outputs))
        told = ("axes", "step", "least", "size", "largest", "raw", "scale", "codes", "rounded", "w")
        axes, step, least, size, largest, raw, own, quantised, rounded, weight = (
            f"{name}.x_{part}" for part in told
        )
        make = helper.make_node
        return [
            make("Constant", [], [axes], f"{axes}_value", value_ints=[0, 2]),
            make("Constant", [], [step], f"{step}_value", value_float=1 / LARGEST),
            make("Constant", [], [least], f"{least}_value", value_float=LEAST),
            make("Abs", ["x"], [size], f"{name}_input_abs"),
            make("ReduceMax", [size, axes], [largest], f"{name}_input_max", keepdims=0),
            make("Mul", [largest, step], [raw], f"{name}_scale_mul"),
            make("Max", [raw, least], [own], f"{name}_scale_max"),
            make(
                "QuantizeLinear", ["x", own], [quantised], f"{name}_input_quant",
                axis=1, output_dtype=TensorProto.FLOAT8E4M3FN,
            ),
            make("DequantizeLinear", [quantised, own], [rounded], f"{name}_input", axis=1),
            make("DequantizeLinear", [codes, scale], [weight], f"{name}_weight", axis=1),
            make("MatMul", [rounded, weight], ["y"], f"{name}_product"),
        ]  # fmt: skip


@cache
def float8() -> np.dtype[Any]:
    """The type in numpy."""
    import ml_dtypes

    return np.dtype(ml_dtypes.float8_e4m3fn)
