"""``w4``: 4-bit weights in blocks, inputs rounded to 8 bits in the same blocks."""

from __future__ import annotations

from hwsearch.formats.blocks import BlockFormat
from hwsearch.plan import WeightFormat


class W4(BlockFormat):
    """4-bit weights in blocks of 32 along the inputs."""

    name = WeightFormat.W4
    text = "4-bit weights in blocks of 32 along the inputs, activations rounded in blocks."
    bits = 4
    low, high = -8, 7
    bytes_per_weight = 0.625  # a float scale for each 32
    operator = ("MatMulNBits", "_Q4")
