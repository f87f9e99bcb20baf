"""A generation written down pass by pass, so that one of its passes can be run again as it was.

Written tokens never change, so the last tokens and the pass that wrote each of them tell what every
pass saw. Decoding freely is chaotic: one token chosen otherwise changes all that follow. A pass run
again on what it saw is not, so two backends can be compared on it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.backend import Backend, LogitsBackend, Tokens
from hwsearch.decoding.batches import Blank, Given, Prompt, batches_of_equal_length
from hwsearch.decoding.passes import PassCall, PassKind, pass_kind
from hwsearch.decoding.sampler import generation
from hwsearch.plan import Decoding

Array = TypeVar("Array")


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One generation.

    Attributes:
        tokens: prompt, answer and suffix, ``[length]``.
        written: the pass that wrote each token of the answer, ``[gen_length]``, from 0; -1 for those
            that none wrote because the answer had ended.
        suffix_length: tokens that were given behind the answer.
    """

    tokens: NDArray[np.int64]
    written: NDArray[np.int64]
    suffix_length: int = 0

    @property
    def blank(self) -> Blank:
        """Where the answer stands."""
        stop = len(self.tokens) - self.suffix_length
        return Blank(stop - len(self.written), stop)

    @property
    def given(self) -> Given:
        """What the answer was written to."""
        tokens = self.tokens.tolist()
        return Given(tuple(tokens[: self.blank.start]), tuple(tokens[self.blank.stop :]))

    def seen_by(self, index: int, mask_token_id: int) -> Tokens:
        """Tokens ``[1, length]`` that a pass saw."""
        tokens = self.tokens.copy()
        still_masked = (self.written >= index) | (self.written < 0)
        tokens[self.blank.place][still_masked] = mask_token_id
        return tokens[None]

    def passes(self, decoding: Decoding) -> list[PassCall]:
        """Every pass of the generation, which was written by `decoding`.

        A schedule's passes are known; those of a commit policy each wrote a token at least, so the
        tokens tell them.
        """
        if decoding.window.slide:
            return self._sliding(decoding)
        calls: list[PassCall] = []
        blocks = self.written.reshape(decoding.num_blocks, decoding.block_length)
        for block, written in enumerate(blocks[blocks.max(axis=1) >= 0]):
            start = self.blank.start + block * decoding.block_length
            count = int(written.max()) + 1 - len(calls)
            if decoding.commit is None:  # a schedule may write nothing in its last passes
                count = decoding.steps_per_block
            for index in range(count):
                kind = pass_kind(decoding, index, is_first=block == 0)
                calls.append(self._call(decoding, kind, start))
        return calls

    def _sliding(self, decoding: Decoding) -> list[PassCall]:
        """Passes over a block that begins at the first mask."""
        calls, blank = [], self.blank
        for index in range(int(self.written.max()) + 1):
            open_ = np.flatnonzero((self.written >= index) | (self.written < 0))
            start = min(blank.start + int(open_[0]), blank.stop - decoding.block_length)
            kind = pass_kind(decoding, index, index == 0)
            calls.append(self._call(decoding, kind, start))
        return calls

    def _call(self, decoding: Decoding, kind: PassKind, start: int) -> PassCall:
        return PassCall.of(decoding, kind, start, len(self.tokens), self.suffix_length)


@dataclass(frozen=True, eq=False)
class FrozenPass:
    """One pass of a generation with all it depends on.

    Attributes:
        index: which pass of the generation.
        calls: what to run, and on which tokens: the passes that left something in the cache that it
            looks at, and itself.
        masked: positions of the block that hold a mask, counted from its start.
    """

    index: int
    calls: tuple[tuple[PassCall, Tokens], ...]
    masked: NDArray[np.int64]

    @property
    def start(self) -> int:
        """First position of its block."""
        return self.calls[-1][0].start

    @property
    def stop(self) -> int:
        """Position after the block."""
        return self.calls[-1][0].stop


def record(
    backend: Backend,
    prompt: Prompt,
    decoding: Decoding,
    mask_token_id: int,
    end_tokens: Collection[int] = (),
) -> Trajectory:
    """Let a backend answer a prompt, and write down how; `end_tokens` as of `generation`."""
    (batch,) = batches_of_equal_length([prompt], 1)
    found = generation(
        backend,
        batch.prompts,
        decoding,
        mask_token_id,
        end_tokens=end_tokens,
        suffixes=batch.suffixes,
    )
    return Trajectory(found.tokens[0], found.written[0], found.suffix_length)


def frozen_passes(
    trajectory: Trajectory,
    indices: Sequence[int],
    decoding: Decoding,
    mask_token_id: int,
    *,
    history: bool,
) -> Iterator[FrozenPass]:
    """Some passes of a generation; those that predict nothing are left out.

    Args:
        trajectory: the generation.
        indices: which passes.
        decoding: how it was written.
        mask_token_id: the token that stands for "not written yet".
        history: whether what a layer keeps depends on all refreshes, not on the last one alone.
    """
    calls = trajectory.passes(decoding)
    for index in sorted(indices):
        call = calls[index]
        tokens = trajectory.seen_by(index, mask_token_id)
        masked = np.flatnonzero(tokens[0, call.start : call.stop] == mask_token_id)
        if not len(masked):
            continue
        storing = [i for i in range(index) if calls[i].shape.kind is not PassKind.STEP]
        if not history:
            storing = _since_refresh(storing, calls, index)
        before = tuple((calls[i], trajectory.seen_by(i, mask_token_id)) for i in storing)
        yield FrozenPass(index, (*before, (call, tokens)), masked)


def _since_refresh(storing: Sequence[int], calls: Sequence[PassCall], index: int) -> list[int]:
    """Those of the passes before that a pass still sees something of: none, if it refreshes all."""
    if calls[index].is_refresh:
        return []
    last = max(i for i in storing if calls[i].is_refresh)
    return [i for i in storing if i >= last]


def replay(backend: LogitsBackend[Array], frozen: FrozenPass) -> Array:
    """Run a pass again: logits ``[1, block, vocab]``, in whatever kind of array the backend gives."""
    backend.begin()
    for call, tokens in frozen.calls:
        run = backend.refresh_logits if call.is_refresh else backend.step_logits
        logits = run(*call.arguments(tokens))
    return logits
