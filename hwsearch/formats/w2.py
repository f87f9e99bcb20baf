"""``w2`` and its like: 2-bit weights in blocks, inputs rounded to 8 bits in the same blocks.

Rounded to nearest they ruin most models: four values a block are too few for weights that nobody
chose with care.
"""

from __future__ import annotations

from typing import Final

from hwsearch.formats.blocks import BlockFormat

#: In blocks of 32, 64 and 128, around zero and with zero points.
W2: Final = tuple(
    BlockFormat(2, block, symmetric) for symmetric in (True, False) for block in (32, 64, 128)
)
