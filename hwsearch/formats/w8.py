"""``w8``: 8-bit weights in blocks, inputs rounded to 8 bits in the same blocks."""

from __future__ import annotations

from hwsearch.formats.blocks import BlockFormat
from hwsearch.plan import WeightFormat


class W8(BlockFormat):
    """8-bit weights in blocks of 32 along the inputs."""

    name = WeightFormat.W8
    text = "8-bit weights in blocks of 32 along the inputs, activations rounded in blocks."
    bits = 8
    low, high = -128, 127
    bytes_per_weight = 1.125  # a float scale for each 32
    operator = ("MatMulNBits", "_Q8")
