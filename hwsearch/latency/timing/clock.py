"""Timing on a machine that is never quiet: interleaved rounds, many short samples.

Idea: drift and neighbours cannot be kept out, but made to hit all candidates alike. Each round times
each of them once, in an order of its own, so that ratios within one call hold. Limits: milliseconds of
two calls do not compare; whoever compares them times something fixed in both.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)

#: A sample times as many runs as fit this long. Others have had the caches in between, and it takes a
#: handful of runs to get them back, as a step of a generation has them.
SAMPLE_SECONDS = 0.02


def interleave(
    runs: Mapping[Key, Callable[[], object]],
    rounds: int,
    *,
    sample_seconds: float | Mapping[Key, float] = SAMPLE_SECONDS,
    clock: Callable[[], float] = time.perf_counter,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> dict[Key, list[float]]:
    """Microseconds a run, `rounds` samples for each, taken in turn and in changing order.

    Drift and neighbours then hit all runs alike, and ratios within one call hold.

    Args:
        runs: what to time; each is called once beforehand to warm it.
        rounds: samples for each.
        sample_seconds: runs are repeated within a sample to fill about this long, each or all.
        clock: seconds, monotonic.
        seed: of the order within the rounds.
        progress: wraps the rounds, to show them.
    """
    alone = {key: _alone(run, clock) for key, run in runs.items()}
    fixed = (
        sample_seconds
        if isinstance(sample_seconds, Mapping)
        else dict.fromkeys(runs, sample_seconds)
    )
    samples: dict[Key, list[float]] = {key: [] for key in runs}
    order, rng = list(runs), random.Random(seed)
    for _ in progress(range(rounds)):
        rng.shuffle(order)
        for key in order:
            repeats = max(1, round(fixed[key] / alone[key]))
            if alone[key] < 2 * fixed[key]:
                runs[key]()  # the coldest one is nobody's
            samples[key].append(_time(runs[key], repeats, clock) * 1e6)
    return samples


def _alone(run: Callable[[], object], clock: Callable[[], float]) -> float:
    """Seconds of one run after another."""
    run()
    return max(_time(run, 1, clock), 1e-9)


def _time(run: Callable[[], object], repeats: int, clock: Callable[[], float]) -> float:
    """Seconds of a run, the mean over so many."""
    began = clock()
    for _ in range(repeats):
        run()
    return (clock() - began) / repeats
