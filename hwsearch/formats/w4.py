"""``w4`` and its like: 4-bit weights in blocks, inputs rounded to 8 bits in the same blocks."""

from __future__ import annotations

from typing import Final

from hwsearch.formats.blocks import BlockFormat, ZeroPointBlockFormat

#: In blocks of 32, 64 and 128, around zero and with zero points.
W4: Final = tuple(
    kind(4, block) for kind in (BlockFormat, ZeroPointBlockFormat) for block in (32, 64, 128)
)
