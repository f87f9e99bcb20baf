"""How many tokens each pass commits, and which passes refresh the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from hwsearch.plan import Decoding


@dataclass(frozen=True)
class Pass:
    """One pass of the denoiser over one block.

    Attributes:
        start: first position of the block, counted from the end of the prompt.
        quota: tokens to commit after this pass.
        refresh: whether all positions run (True) or only the block's rows (False).
    """

    start: int
    quota: int
    refresh: bool


def passes(decoding: Decoding) -> Iterator[Pass]:
    """Every pass of one generation, in order.

    A block of n masks written in s passes commits n // s tokens a pass and one more in each
    of the first n % s passes (LLaDA's ``get_num_transfer_tokens``).

    >>> from hwsearch.plan import Decoding
    >>> d = Decoding(gen_length=8, block_length=4, steps=6, refresh_interval=2)
    >>> [(p.start, p.quota, p.refresh) for p in passes(d)]
    [(0, 2, True), (0, 1, False), (0, 1, True), (4, 2, True), (4, 1, False), (4, 1, True)]
    """
    every, extra = divmod(decoding.block_length, decoding.steps_per_block)
    for block in range(decoding.num_blocks):
        for index in range(decoding.steps_per_block):
            yield Pass(
                start=block * decoding.block_length,
                quota=every + (index < extra),
                refresh=index % decoding.refresh_interval == 0,
            )
