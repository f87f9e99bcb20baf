"""``fp32``: float weights, float arithmetic; what nothing was done to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwsearch.formats.weight_format import Format, Spec
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from hwsearch.formats.weight_format import Codes


class Fp32(Format):
    """Weights and inputs as they are."""

    name = WeightFormat.FP32
    text = "float weights, float arithmetic."
    bits = 32
    bytes_per_weight = 4.0
    mac_pj = 3.7 + 0.9
    operator = ("MatMul", "")
    scaled_axis = 1

    def specs(self, inputs: int, outputs: int) -> dict[str, Spec]:
        """Four bytes a weight."""
        return {"": Spec(np.dtype(np.float32), (inputs, outputs), 1)}

    def encode(self, matrix: NDArray[np.float32]) -> Codes:
        """The matrix itself."""
        return {"": matrix}

    def decode(self, codes: Codes, inputs: int) -> NDArray[np.float32]:
        """The matrix itself."""
        return np.ascontiguousarray(codes[""].T, dtype=np.float32)

    def round_inputs(self, x: Tensor) -> Tensor:
        """Inputs as they are."""
        return x

    def simulate(self, linear: nn.Linear) -> nn.Module:
        """The very same module."""
        return linear

    def nodes(self, name: str, inputs: int, outputs: int) -> list[onnx.NodeProto]:
        """One MatMul."""
        from onnx import helper

        return [helper.make_node("MatMul", ["x", f"{name}.weight"], ["y"], name)]
