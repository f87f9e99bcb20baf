"""Time torch: CUDA events behind a flushed cache on a GPU, a clock on a processor."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

import torch

from hwsearch.latency.timing.torch.operator_probes import Run, cache_bytes

Key = TypeVar("Key", bound=Hashable)

#: Runs of a sample fill about this long, so that neither launches nor the clock's grain matter.
SAMPLE_US = 2000.0
MOST_RUNS = 200

#: Microseconds of some runs in a row, from first to last.
Clock = Callable[[Run, int], float]


def clock_of(device: torch.device) -> Clock:
    """How to time on a device."""
    return CudaClock(device) if device.type == "cuda" else _host_us


class CudaClock:
    """CUDA events around the runs, after a write that leaves nothing of them in the L2 cache.

    The write also keeps the GPU busy while the host enqueues the runs, so that what is timed is
    the GPU's work unless launching takes longer than the work itself.
    """

    def __init__(self, device: torch.device) -> None:
        self._flush = torch.empty(4 * cache_bytes(device), dtype=torch.int8, device=device)

    def __call__(self, run: Run, times: int) -> float:
        """Microseconds of `times` runs."""
        began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._flush.zero_()
        began.record()
        for _ in range(times):
            run()
        ended.record()
        ended.synchronize()
        return float(began.elapsed_time(ended)) * 1e3


def _host_us(run: Run, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - began) * 1e6


def sample(
    runs: Mapping[Key, Run], rounds: int, clock: Clock, *, seed: int = 0
) -> dict[Key, list[float]]:
    """Microseconds a run, `rounds` samples for each, taken in turn and in changing order."""
    repeats = {}
    for key, run in runs.items():
        clock(run, 2)
        repeats[key] = max(1, min(MOST_RUNS, round(SAMPLE_US / max(clock(run, 1), 1e-3))))
    samples: dict[Key, list[float]] = {key: [] for key in runs}
    order, rng = list(runs), random.Random(seed)
    for _ in range(rounds):
        rng.shuffle(order)
        for key in order:
            samples[key].append(clock(runs[key], repeats[key]) / repeats[key])
    return samples
