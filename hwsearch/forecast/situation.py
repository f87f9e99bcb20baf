"""What is known when a forecast is made: the last passes over a block, and what was written since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from hwsearch.errors import InputError
from hwsearch.forecast.passes import BlockPasses, Floats, Mask, Tokens

#: Transitions that are looked at together; their logits are the most that is copied at a time.
TOGETHER = 64


class Best(NamedTuple):
    """The most probable tokens of a pass and their probabilities, both ``[batch, block]``."""

    tokens: Tokens
    probability: Floats


@dataclass(frozen=True, eq=False)
class Situation:
    """What a forecast of the next pass over a block is made from.

    Attributes:
        logits: of the last passes over the block, newest first, each ``[batch, block, vocab]``.
        hidden: final hidden states of the newest, ``[batch, block, width]``; None where nobody asks.
        best: of every pass over the block, newest first; empty where nobody asks.
        seen: what was masked when the newest ran, ``[batch, block]``.
        tokens: as they stand, ``[batch, block]``.
        masked: which of them are masked still, ``[batch, block]``.
    """

    logits: tuple[Floats, ...]
    hidden: Floats | None
    best: tuple[Best, ...]
    seen: Mask
    tokens: Tokens
    masked: Mask

    @property
    def written(self) -> Mask:
        """What was written since the newest pass, ``[batch, block]``."""
        return self.seen & ~self.masked


@dataclass(frozen=True)
class Memory:
    """What a method looks at of the passes before.

    Attributes:
        logits: of how many passes.
        hidden: whether it looks at final hidden states.
        best: whether it looks at the most probable tokens of every pass.
    """

    logits: int = 1
    hidden: bool = False
    best: bool = False


def best_of(logits: Floats) -> Best:
    """The most probable tokens of logits ``[batch, block, vocab]``."""
    tokens = logits.argmax(axis=-1)
    highest = np.take_along_axis(logits, tokens[..., None], axis=-1)
    probability: Floats = 1.0 / np.exp(logits - highest).sum(axis=-1)
    return Best(tokens, probability)


class Transition(NamedTuple):
    """A situation, and the logits that the next pass put out, ``[batch, block, vocab]``."""

    situation: Situation
    logits: Floats


def transitions(blocks: Sequence[BlockPasses], memory: Memory) -> Iterator[Transition]:
    """From each pass to the next over the same block, where masks remain; a few samples together.

    Args:
        blocks: passes over blocks of one length.
        memory: what the situations hold.
    """
    longest = max((len(block.masked) for block in blocks), default=0)
    for index in range(longest - 1):
        going_on = [
            block
            for block in blocks
            if len(block.masked) > index + 1 and block.masked[index + 1].any()
        ]
        for first in range(0, len(going_on), TOGETHER):
            yield _transition(going_on[first : first + TOGETHER], index, memory)


def _transition(blocks: Sequence[BlockPasses], index: int, memory: Memory) -> Transition:
    """From pass `index` to the next, of some blocks."""
    past = range(index, -1, -1)
    logits = tuple(np.stack([b.logits[i] for b in blocks]) for i in past[: memory.logits])
    best = (best_of(np.stack([b.logits[i] for b in blocks])) for i in past)
    situation = Situation(
        logits=logits,
        hidden=np.stack([_hidden(b)[index] for b in blocks]) if memory.hidden else None,
        best=tuple(best) if memory.best else (),
        seen=np.stack([b.masked[index] for b in blocks]),
        tokens=np.stack([b.tokens[index + 1] for b in blocks]),
        masked=np.stack([b.masked[index + 1] for b in blocks]),
    )
    return Transition(situation, np.stack([b.logits[index + 1] for b in blocks]))


def _hidden(block: BlockPasses) -> Floats:
    if block.hidden is None:
        raise InputError("this forecast looks at final hidden states, and the passes hold none")
    return block.hidden


def checked_passes(blocks: Sequence[BlockPasses], memory: Memory) -> None:
    """Refuse passes that nothing can be fitted on.

    Raises:
        InputError: blocks differ in size, arrays do not belong together, or numbers are not finite.
    """
    if not blocks:
        return
    _, size, vocab = _shape(blocks[0])
    for place, block in enumerate(blocks):
        passes, *sizes = _shape(block)
        if sizes != [size, vocab]:
            raise InputError(
                f"forecasts are fitted on blocks of one size, {size} tokens of {vocab}; "
                f"block {place} has logits {block.logits.shape}"
            )
        arrays = {"tokens": block.tokens, "masked": block.masked}
        for name, array in arrays.items():
            if array.shape != (passes, size):
                raise InputError(
                    f"block {place}: {name} {array.shape} is not {(passes, size)} as its logits are"
                )
        _check_numbers(place, "logits", block.logits)
        if memory.hidden:
            _check_hidden(place, _hidden(block), (passes, size))


def _shape(block: BlockPasses) -> tuple[int, ...]:
    if block.logits.ndim != 3:
        raise InputError(f"logits are [passes, block, vocab], got {block.logits.shape}")
    return block.logits.shape


def _check_hidden(place: int, hidden: Floats, shape: tuple[int, int]) -> None:
    if hidden.ndim != 3 or hidden.shape[:2] != shape:
        raise InputError(
            f"block {place}: hidden states {hidden.shape} do not belong to logits {shape}"
        )
    _check_numbers(place, "hidden states", hidden)


def _check_numbers(place: int, name: str, array: Floats) -> None:
    if not np.isfinite(array).all():
        raise InputError(
            f"block {place}: {name} are not finite numbers, so no forecast can be fitted on them"
        )
