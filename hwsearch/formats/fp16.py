"""``fp16``: 16-bit float weights and inputs; sums stay in float32, as on tensor cores."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.formats.weight_format import Format
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    from torch import Tensor, nn


class Fp16(Format):
    """Weights and inputs rounded to 16-bit floats. onnxruntime's CPU kernels have no such product."""

    name = WeightFormat.FP16
    text = "16-bit float weights and arithmetic (``bf16`` on devices that prefer it)."
    bits = 16
    bytes_per_weight = 2.0
    mac_pj = 1.1 + 0.4

    def matrix_bytes(self, out_features: int, in_features: int) -> int:
        """Two bytes a weight."""
        return 2 * out_features * in_features

    def simulate(self, linear: nn.Linear) -> nn.Module:
        """The linear with weights and inputs rounded."""
        from hwsearch.formats.simulated_linear import simulated

        return simulated(linear, round_half, round_half)


def round_half(x: Tensor) -> Tensor:
    """Values at 16-bit float, those too large for it at its largest."""
    import torch

    largest = torch.finfo(torch.float16).max
    return x.clamp(-largest, largest).to(torch.float16).to(x.dtype)
