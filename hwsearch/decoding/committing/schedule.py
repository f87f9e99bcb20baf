"""How many tokens each pass writes, and which passes refresh the cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from hwsearch.plan import CommitRule, Decoding

#: Where Dream's time ends: the share of masks that its last pass but one may leave.
EPSILON = 1e-3


@dataclass(frozen=True)
class Pass:
    """One pass of the denoiser over one block.

    Attributes:
        start: first position of the block, counted from the end of the prompt.
        quota: tokens to write after this pass.
        refresh: whether all positions run (True) or only the block's rows (False).
        share: the chance of each mask of being written, for the rule that draws lots.
    """

    start: int
    quota: int
    refresh: bool
    share: float


def passes(decoding: Decoding) -> Iterator[Pass]:
    """Every pass of one generation, in order.

    >>> from hwsearch.plan import Decoding
    >>> d = Decoding(gen_length=8, block_length=4, steps=6, refresh_interval=2)
    >>> [(p.start, p.quota, p.refresh) for p in passes(d)]
    [(0, 2, True), (0, 1, False), (0, 1, True), (4, 2, True), (4, 1, False), (4, 1, True)]
    """
    shares = shares_of(decoding)
    quotas = quotas_of(decoding)
    for block in range(decoding.num_blocks):
        for index, (quota, share) in enumerate(zip(quotas, shares, strict=True)):
            yield Pass(
                start=block * decoding.block_length,
                quota=quota,
                refresh=index % decoding.refresh_interval == 0,
                share=share,
            )


def quotas_of(decoding: Decoding) -> list[int]:
    """Tokens that each pass over a block writes; together they are the block.

    LLaDA writes n masks in s passes by n // s a pass, and one more in each of the first n % s
    (its ``get_num_transfer_tokens``). Dream writes the whole part of ``share * masks left``.
    """
    if decoding.rule in (CommitRule.LOW_CONFIDENCE, CommitRule.RANDOM):
        every, extra = divmod(decoding.block_length, decoding.steps_per_block)
        return [every + (index < extra) for index in range(decoding.steps_per_block)]
    left, quotas = decoding.block_length, []
    for share in shares_of(decoding):
        quotas.append(int(left * share))
        left -= quotas[-1]
    return quotas


def shares_of(decoding: Decoding) -> list[float]:
    """The share of its masks that each pass over a block writes; the last one writes them all."""
    times = np.linspace(1.0, EPSILON, decoding.steps_per_block + 1)
    shares = [float(1.0 - after / before) for before, after in pairwise(times)]
    return [*shares[:-1], 1.0]
