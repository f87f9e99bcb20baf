"""``fp32``: float weights, float arithmetic; what nothing was done to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.formats.weight_format import Format
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    from torch import nn


class Fp32(Format):
    """Weights and inputs as they are."""

    name = WeightFormat.FP32
    text = "float weights, float arithmetic."
    bits = 32
    bytes_per_weight = 4.0
    mac_pj = 3.7 + 0.9
    operator = ("MatMul", "")

    def matrix_bytes(self, out_features: int, in_features: int) -> int:
        """Four bytes a weight."""
        return 4 * out_features * in_features

    def simulate(self, linear: nn.Linear) -> nn.Module:
        """The very same module."""
        return linear
