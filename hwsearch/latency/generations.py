"""The generations that calibrate what a generation costs beside its passes: a long one, two short ones.

Whatever is spent once a generation, once a refresh and once a pass looks alike in generations of one
length. So the same bundle also writes text in few passes, and one block of it alone.
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsearch.plan import Decoding


@dataclass(frozen=True)
class ScheduledGeneration:
    """A generation whose passes do not depend on its text.

    Attributes:
        decoding: how it is written; it stops at an end token where not all blocks are written.
        blocks: blocks that are written; where they are not all, every token is an end token.
    """

    decoding: Decoding
    blocks: int

    @property
    def passes(self) -> int:
        """All of its passes."""
        return self.blocks * self.decoding.steps_per_block

    @property
    def refreshes(self) -> int:
        """Those of them that fill the cache."""
        return self.blocks * self.decoding.refreshes // self.decoding.num_blocks

    @property
    def stops_early(self) -> bool:
        """Whether blocks are left unwritten."""
        return self.blocks < self.decoding.num_blocks


def scheduled_generations(decoding: Decoding) -> tuple[ScheduledGeneration, ...]:
    """A decoding's own generation, one of two passes a block, and the first block of that alone.

    >>> own = Decoding(gen_length=48, block_length=16, steps=48, refresh_interval=16)
    >>> [(one.passes, one.refreshes) for one in scheduled_generations(own)]
    [(48, 3), (6, 3), (2, 1)]
    """
    blocks = decoding.num_blocks
    few = decoding.changed({"steps": blocks * min(2, decoding.steps_per_block)})
    return (
        ScheduledGeneration(decoding, blocks),
        ScheduledGeneration(few, blocks),
        ScheduledGeneration(few.changed({"stop_at_end": True}), 1),
    )
