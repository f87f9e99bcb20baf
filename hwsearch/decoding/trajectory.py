"""A generation written down pass by pass, so that one of its passes can be run again as it was.

Written tokens never change, so the last tokens and the pass that wrote each of them tell what every
pass saw. Decoding freely is chaotic: one token chosen otherwise changes all that follow. A pass run
again on what it saw is not, so two backends can be compared on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.backend import (
    GREEDY,
    Backend,
    LogitsBackend,
    Prediction,
    Sampling,
    Tokens,
)
from hwsearch.decoding.sampler import generate
from hwsearch.decoding.schedule import passes
from hwsearch.plan import Decoding

Array = TypeVar("Array")


@dataclass(frozen=True, eq=False)
class Trajectory:
    """One generation.

    Attributes:
        tokens: prompt and answer, ``[length]``.
        written: the pass that wrote each token of the answer, ``[gen_length]``, from 0.
    """

    tokens: NDArray[np.int64]
    written: NDArray[np.int64]

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt."""
        return len(self.tokens) - len(self.written)

    def seen_by(self, index: int, mask_token_id: int) -> Tokens:
        """Tokens ``[1, length]`` that a pass saw."""
        tokens = self.tokens.copy()
        tokens[self.prompt_length :][self.written >= index] = mask_token_id
        return tokens[None]


@dataclass(frozen=True, eq=False)
class FrozenPass:
    """One pass of a generation with all it depends on.

    Attributes:
        index: which pass of the generation.
        refreshes: what the refreshes before it saw, and the first position of their block; the
            last is the pass itself if it is a refresh.
        step: what the pass saw, if it is a step.
        start: first position of its block.
        stop: position after the block.
        masked: positions of the block that hold a mask, counted from its start.
    """

    index: int
    refreshes: tuple[tuple[Tokens, int], ...]
    step: Tokens | None
    start: int
    stop: int
    masked: NDArray[np.int64]


def record(
    backend: Backend, prompt: Sequence[int], decoding: Decoding, mask_token_id: int
) -> Trajectory:
    """Let a backend answer a prompt, and write down how."""
    watched = _Watched(backend, len(prompt), mask_token_id)
    tokens = generate(watched, np.array([prompt]), decoding, mask_token_id)
    return Trajectory(tokens[0], watched.masked_passes - 1)


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
    schedule, prompt_length = list(passes(decoding)), trajectory.prompt_length
    for index in sorted(indices):
        start = prompt_length + schedule[index].start
        stop = start + decoding.block_length
        tokens = trajectory.seen_by(index, mask_token_id)
        masked = np.flatnonzero(tokens[0, start:stop] == mask_token_id)
        if not len(masked):
            continue
        earlier = [i for i in range(index + 1) if schedule[i].refresh]
        refreshes = tuple(
            (trajectory.seen_by(i, mask_token_id), prompt_length + schedule[i].start)
            for i in (earlier if history else earlier[-1:])
        )
        step = None if schedule[index].refresh else tokens
        yield FrozenPass(index, refreshes, step, start, stop, masked)


def replay(backend: LogitsBackend[Array], frozen: FrozenPass) -> Array:
    """Run a pass again: logits ``[1, block, vocab]``, in whatever kind of array the backend gives."""
    backend.begin()
    block = frozen.stop - frozen.start
    for tokens, start in frozen.refreshes:
        logits = backend.refresh_logits(tokens, start, start + block)
    if frozen.step is not None:
        logits = backend.step_logits(frozen.step, frozen.start, frozen.stop)
    return logits


class _Watched:
    """A backend that counts the passes that saw each position of the answer as a mask."""

    def __init__(self, backend: Backend, prompt_length: int, mask_token_id: int) -> None:
        self._backend = backend
        self._prompt_length = prompt_length
        self._mask_token_id = mask_token_id
        self.masked_passes: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        self.masked_passes = np.zeros(0, dtype=np.int64)
        self._backend.begin() if sampling == GREEDY else self._backend.begin(sampling=sampling)

    def refresh(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        self._count(tokens)
        return self._backend.refresh(tokens, start, stop)

    def step(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        self._count(tokens)
        return self._backend.step(tokens, start, stop)

    def _count(self, tokens: Tokens) -> None:
        masked = (tokens[0, self._prompt_length :] == self._mask_token_id).astype(np.int64)
        self.masked_passes = masked + (self.masked_passes if len(self.masked_passes) else 0)
