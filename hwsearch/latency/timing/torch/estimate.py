"""How long a GPU profile will take, told beforehand: a pilot of a second, and counting."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch

from hwsearch.latency.devices.roofline import moved_bytes, operations
from hwsearch.latency.operators import OpKey
from hwsearch.latency.timing.torch.clock import MOST_RUNS, SAMPLE_US
from hwsearch.latency.timing.torch.kernels import linear_kernel
from hwsearch.latency.timing.torch.operator_probes import buffer_copies, cache_bytes

#: Sizes of the pilot: rows, and features of a square product.
ROWS, FEATURES = 256, 2048

#: Times that an operator may be slower than the pilot's bfloat16 product says; some kernels are.
SLACK = 3.0

#: Runs of an operator beside its samples: to warm it, and to see how often it fits into a sample.
EXTRA_RUNS = 4


@dataclass(frozen=True)
class Pace:
    """What a device was seen to do.

    Attributes:
        build_s: seconds to make and quantise one weight.
        flops: operations a second of a bfloat16 product.
        bandwidth: bytes a second of a copy.
        start_us: microseconds of the least operator.
        flush_s: seconds to clear the last cache.
    """

    build_s: float
    flops: float
    bandwidth: float
    start_us: float
    flush_s: float

    def operator_us(self, key: OpKey) -> float:
        """Microseconds of an operator, about."""
        busy = operations(key) / self.flops + moved_bytes(key, 2.0) / self.bandwidth
        return self.start_us + SLACK * busy * 1e6

    def probe_s(self, key: OpKey, device: torch.device, rounds: int) -> float:
        """Seconds to build an operator's buffers and to time it in one session."""
        copies = buffer_copies(key, device)
        weights = copies * key.in_features * key.out_features if key.kind == "linear" else 0
        return weights * self.build_s + self.samples_s(self.operator_us(key), rounds)

    def samples_s(self, run_us: float, rounds: int) -> float:
        """Seconds to warm a run of so many microseconds and to sample it."""
        repeats = max(1, min(MOST_RUNS, round(SAMPLE_US / run_us)))
        runs = EXTRA_RUNS + rounds * repeats
        return runs * run_us / 1e6 + (EXTRA_RUNS + rounds) * self.flush_s

    def whole_s(self, weights: int, passes: Sequence[Iterable[OpKey]], rounds: int) -> float:
        """Seconds to build a model of so many weights and to time its passes."""
        timed = (self.samples_s(sum(map(self.operator_us, one)), rounds) for one in passes)
        return weights * self.build_s + sum(timed)


def pace_of(device: torch.device) -> Pace:
    """A device's pace, measured in about a second."""
    x = torch.randn(ROWS, FEATURES, device=device).bfloat16()
    kernel = linear_kernel("fp16", FEATURES, FEATURES, device)
    large, small = torch.empty(2**26, dtype=torch.int8, device=device), x[:1]
    product = _seconds(lambda: kernel(x), device)
    copy = _seconds(large.clone, device)
    build = _seconds(lambda: linear_kernel("w8a8", FEATURES, FEATURES, device), device)
    return Pace(
        build_s=SLACK * build / FEATURES**2,
        flops=2.0 * ROWS * FEATURES**2 / product,
        bandwidth=2.0 * large.nbytes / copy,
        start_us=1e6 * _seconds(lambda: small + small, device),
        flush_s=4 * cache_bytes(device) * copy / (2.0 * large.nbytes) if _gpu(device) else 0.0,
    )


def _seconds(run: Callable[[], object], device: torch.device, times: int = 5) -> float:
    """Least seconds of a run, from the host's side."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        run()
        if _gpu(device):
            torch.cuda.synchronize(device)
        found.append(time.perf_counter() - began)
    return max(min(found), 1e-9)


def _gpu(device: torch.device) -> bool:
    return device.type == "cuda"


def spoken(seconds: float) -> str:
    """A duration as it is said.

    >>> spoken(42.4), spoken(431.0)
    ('42 s', '7 min 11 s')
    """
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
