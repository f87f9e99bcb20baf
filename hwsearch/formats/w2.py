"""``w2`` and its like: 2-bit weights in blocks, inputs rounded to 8 bits in the same blocks.

Rounded to nearest they ruin most models: four values a block are too few for weights that nobody
chose with care.
"""

from __future__ import annotations

from typing import Final

from hwsearch.formats.blocks import BlockFormat, ZeroPointBlockFormat

#: In blocks of 32, 64 and 128, around zero and with zero points.
W2: Final = tuple(
    kind(2, block) for kind in (BlockFormat, ZeroPointBlockFormat) for block in (32, 64, 128)
)
