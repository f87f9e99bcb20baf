"""``fp16``: 16-bit float weights and inputs; sums stay in float32, as on tensor cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hwsearch.formats.weight_format import Format, Spec
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from hwsearch.formats.weight_format import Codes


class Fp16(Format):
    """Weights and inputs rounded to 16-bit floats. onnxruntime's CPU kernels have no such product."""

    name = WeightFormat.FP16
    text = "16-bit float weights and arithmetic (``bf16`` on devices that prefer it)."
    bits = 16
    bytes_per_weight = 2.0
    mac_pj = 1.1 + 0.4

    def specs(self, inputs: int, outputs: int) -> dict[str, Spec]:
        """Two bytes a weight."""
        return {"": Spec(np.dtype(np.float16), (inputs, outputs), 1)}

    def encode(self, matrix: NDArray[np.float32]) -> Codes:
        """Values at 16 bits, those too large for it at its largest."""
        largest = np.finfo(np.float16).max
        return {"": np.clip(matrix, -largest, largest).astype(np.float16)}

    def decode(self, codes: Codes, inputs: int) -> NDArray[np.float32]:
        """The same in float32."""
        return np.ascontiguousarray(codes[""].T.astype(np.float32))

    def round_inputs(self, x: Tensor) -> Tensor:
        """The same for inputs."""
        return round_half(x)


def round_half(x: Tensor) -> Tensor:
    """Values at 16-bit float, those too large for it at its largest."""
    import torch

    largest = torch.finfo(torch.float16).max
    return x.clamp(-largest, largest).to(torch.float16).to(x.dtype)
