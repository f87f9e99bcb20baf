"""``w8`` and its like: 8-bit weights in blocks, inputs rounded to 8 bits in the same blocks.

Zero points, which save a fraction of the last of eight bits, are not offered.
"""

from __future__ import annotations

from typing import Final

from hwsearch.formats.blocks import BlockFormat

#: In blocks of 32, 64 and 128.
W8: Final = tuple(BlockFormat(8, block) for block in (32, 64, 128))
