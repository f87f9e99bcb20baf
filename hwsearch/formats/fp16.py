"""``fp16``: 16-bit float weights, inputs and outputs; sums are made in float32, as on tensor cores.

Inputs too large for 16 bits are cut off at the largest; a sum that is too large becomes infinite, as in
any kernel of halves, so that a model with such outliers has no finite loss in this format.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwsearch.formats.weight_format import Format, Spec
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor

    from hwsearch.formats.weight_format import Codes

#: What is added to the name of a weight: the graph's own float weight goes by the name itself.
PART = "_half"


class Fp16(Format):
    """Weights, inputs and outputs rounded to 16-bit floats.

    onnxruntime's CPU has no such kernel: it multiplies the rounded numbers as 32-bit floats.
    """

    name = WeightFormat.FP16
    text = "16-bit float weights and arithmetic (``bf16`` on devices that prefer it)."
    bits = 16
    bytes_per_weight = 2.0
    mac_pj = 1.1 + 0.4
    rounds_outputs = True
    operator = ("MatMul", PART)
    scaled_part, scaled_axis = PART, 1

    def specs(self, inputs: int, outputs: int) -> dict[str, Spec]:
        """Two bytes a weight."""
        return {PART: Spec(np.dtype(np.float16), (inputs, outputs), 1)}

    def encode(self, matrix: NDArray[np.float32]) -> Codes:
        """Values at 16 bits, those too large for it at its largest."""
        largest = np.finfo(np.float16).max
        return {PART: np.clip(matrix, -largest, largest).astype(np.float16)}

    def decode(self, codes: Codes, inputs: int) -> NDArray[np.float32]:
        """The same in float32."""
        return np.ascontiguousarray(codes[PART].T.astype(np.float32))

    def round_inputs(self, x: Tensor) -> Tensor:
        """The same for inputs."""
        return round_half(x)

    def round_outputs(self, y: Tensor) -> Tensor:
        """16-bit floats, infinite where they are too large."""
        return y.half().to(y.dtype)

    def nodes(self, name: str, inputs: int, outputs: int) -> list[onnx.NodeProto]:
        """Inputs cut off and rounded to 16 bits, multiplied as such, and 32 bits again."""
        from onnx import TensorProto, helper

        least, most, cut, half, product = (
            f"{name}.{part}" for part in ("x_least", "x_most", "x_cut", "x_half", "product")
        )
        largest, make = float(np.finfo(np.float16).max), helper.make_node
        return [
            make("Constant", [], [least], f"{least}_value", value_float=-largest),
            make("Constant", [], [most], f"{most}_value", value_float=largest),
            make("Clip", ["x", least, most], [cut], f"{name}_input_cut"),
            make("Cast", [cut], [half], f"{name}_input_rounded", to=TensorProto.FLOAT16),
            make("MatMul", [half, f"{name}.weight{PART}"], [product], f"{name}_half"),
            make("Cast", [product], ["y"], f"{name}_output", to=TensorProto.FLOAT),
        ]


def round_half(x: Tensor) -> Tensor:
    """Values at 16-bit float, those too large for it at its largest."""
    import torch

    largest = torch.finfo(torch.float16).max
    return x.clamp(-largest, largest).to(torch.float16).to(x.dtype)
