"""Time a bundle as it is used: questions answered one by one, from prompt to last token."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hwsearch.decoding.answer import answer_length, end_token_ids
from hwsearch.decoding.batches import Prompt
from hwsearch.decoding.passes import PassKind, counted, kinds
from hwsearch.errors import InputError
from hwsearch.files import read_text
from hwsearch.files.kinds import SYSTEM_FILE
from hwsearch.runtime.engine import Runtime

#: Generations before the first that counts: they touch the weights and let onnxruntime's arena grow.
WARM_UP = 2

_STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class TimedGeneration:
    """One question answered.

    Attributes:
        ms: milliseconds from the prompt's tokens to the last token written.
        tokens: tokens of the answer: those before its first end token, or all there are without one.
        passes: forward passes by kind.
    """

    ms: float
    tokens: int
    passes: dict[PassKind, int]


@dataclass(frozen=True)
class GenerationTimes:
    """What answering questions took.

    Attributes:
        generations: each one, in the order in which they ran.
        peak_bytes: the most resident memory of the process so far; None where unknown.
    """

    generations: tuple[TimedGeneration, ...]
    peak_bytes: int | None

    @property
    def tokens(self) -> int:
        """Tokens of all answers; see `TimedGeneration`."""
        return sum(one.tokens for one in self.generations)

    @property
    def tokens_per_second(self) -> float:
        """Tokens of all answers over the time of all generations.

        What is written behind an end token takes its time and counts for nothing.
        """
        return self.tokens / (sum(one.ms for one in self.generations) / 1e3)

    @property
    def tokens_per_pass(self) -> float:
        """Tokens of all answers over all forward passes (TPF), counted alike."""
        return self.tokens / sum(self.passes.values())

    @property
    def passes(self) -> dict[PassKind, int]:
        """Forward passes of all generations, by kind."""
        return {kind: sum(one.passes[kind] for one in self.generations) for kind in PassKind}

    def latency_ms(self, percentile: float) -> float:
        """A percentile (0 to 100) of a generation's milliseconds, interpolated between samples."""
        return float(np.percentile([one.ms for one in self.generations], percentile))


def time_generations(
    runtime: Runtime,
    prompts: Sequence[Prompt],
    *,
    rounds: int = 3,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> GenerationTimes:
    """Answer every prompt in each of some rounds, after a warm-up on the longest one.

    Args:
        runtime: the bundle.
        prompts: tokens of each, or those on both sides of a blank.
        rounds: times that each is answered, with another seed in each.
        clock: seconds, monotonic.
        progress: wraps the numbers of the generations, to show them.

    Raises:
        InputError: there are no prompts or no rounds.
    """
    if not prompts or rounds < 1:
        raise InputError(
            f"timing needs at least one question and one round, got {len(prompts)} and {rounds}"
        )
    for _ in range(WARM_UP):
        runtime.generation(max(prompts, key=len))
    found = []
    for number in progress(range(rounds * len(prompts))):
        seed, place = divmod(number, len(prompts))
        found.append(_timed(runtime, prompts[place], seed, clock))
    return GenerationTimes(tuple(found), peak_memory_bytes())


def _timed(
    runtime: Runtime, prompt: Prompt, seed: int, clock: Callable[[], float]
) -> TimedGeneration:
    began = clock()
    found = runtime.generation(prompt, seed=seed)
    ms = 1e3 * (clock() - began)
    written = found.tokens[0, found.blank.place]
    count = answer_length(written, end_token_ids(runtime.bundle.manifest))
    return TimedGeneration(ms, count, dict(kinds(counted(found.passes))))


def peak_memory_bytes() -> int | None:
    """Peak resident memory of this process since it began, in bytes; None where nothing tells it.

    Linux is asked for the process's own peak: what `getrusage` tells there is also what the process
    that started it had held.
    """
    if _STATUS.is_file():
        found = re.search(r"^VmHWM:\s+(\d+) kB$", read_text(_STATUS, SYSTEM_FILE), re.MULTILINE)
        if found is not None:
            return 1024 * int(found[1])
    try:
        import resource
    except ImportError:  # Windows has none
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak
