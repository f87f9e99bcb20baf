"""Time what a forecast costs after each pass, where it runs: between the passes of a generation.

Idea: text is written in two passes a block, whatever the model predicts: the first leaves a quarter of
the masks, the second none, much as where a policy decides. It is written so as it is, and with a forecast
after each pass that is never sure of anything. What that takes longer between its passes, by their number,
is the forecast's price. The clock stands still during passes: they take many times as long as a
forecast, and their noise would hide it. Run by itself over and over a forecast takes a fraction of
its price: it finds its code and its numbers where the last one left them.

Limits: numbers are random. Where more passes leave masks, or more of them, forecasts take longer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

import numpy as np

from hwsearch.decoding.backend import GREEDY, Backend, Prediction, Sampling, Tokens
from hwsearch.decoding.batches import PromptBatch
from hwsearch.decoding.passes import WHOLE, Scope
from hwsearch.decoding.sampler import generate
from hwsearch.forecast.settings import METHODS
from hwsearch.forecast.untrained import UntrainedForecast
from hwsearch.latency.operators import Workload
from hwsearch.latency.timing.clock import interleave
from hwsearch.latency.timing.pinning import pinned
from hwsearch.plan import Decoding

#: The run without a forecast; no method has this name.
PLAIN: Final = ""


class ClockBetweenPasses:
    """Seconds, without those that were spent in passes."""

    def __init__(self) -> None:
        self._in_passes = 0.0

    def __call__(self) -> float:
        """The time now."""
        return time.perf_counter() - self._in_passes

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stands still while a pass runs."""
        began = time.perf_counter()
        yield
        self._in_passes += time.perf_counter() - began


def time_forecasts(
    backend: Backend,
    workload: Workload,
    mask_token_id: int,
    *,
    vocab_size: int,
    width: int,
    rounds: int = 5,
    threads: int = 1,
) -> dict[str, float]:
    """Milliseconds that each method of `METHODS` costs after a pass.

    Args:
        backend: a model, with batch 1.
        workload: what it generates.
        mask_token_id: fills the part to be written.
        vocab_size: tokens that its logits are of.
        width: of its final hidden states.
        rounds: samples of each.
        threads: processors to stay on.
    """
    decoding = two_passes_a_block(workload.decoding)
    shape = (1, decoding.block_length)
    clock = ClockBetweenPasses()
    hands_out = _Handing(backend, clock, shape, vocab_size, width)
    prompt = np.random.default_rng(0).integers(0, vocab_size, (1, workload.prompt_length))
    batch = PromptBatch([0], prompt, prompt[:, :0])
    runs = {PLAIN: _run(hands_out, batch, decoding, mask_token_id)}
    for name in METHODS:
        foreseeing = decoding.changed({"forecast": {"method": name, "threshold": 1.0}})
        assert foreseeing.forecast is not None
        forecast = UntrainedForecast.of(foreseeing.forecast, vocab_size, width, shape[1])
        writer = _Handing(backend, clock, shape, vocab_size, width, forecast)
        runs[name] = _run(writer, batch, foreseeing, mask_token_id)
    with pinned(threads):
        samples = interleave(runs, rounds, sample_seconds=0.0, clock=clock)  # a generation each
    return _prices(samples, 2 * decoding.num_blocks)


def _prices(samples_us: Mapping[str, list[float]], passes: int) -> dict[str, float]:
    """What each method costs after a pass, in milliseconds: its rounds against those without."""
    plain = np.array(samples_us[PLAIN])
    return {
        name: max(0.0, float(np.median(np.array(own) - plain))) / passes / 1e3
        for name, own in samples_us.items()
        if name != PLAIN
    }


def two_passes_a_block(decoding: Decoding) -> Decoding:
    """A decoding that writes a block in two passes, by the certainty that `_Handing` says it has."""
    return decoding.changed({"commit": {"policy": "threshold"}, "temperature": 0.0})


def _run(
    writer: Backend, batch: PromptBatch, decoding: Decoding, mask_token_id: int
) -> Callable[[], object]:
    return lambda: generate(writer, batch.prompts, decoding, mask_token_id)


class _Handing:
    """A backend that hands out logits and states beside its predictions: random ones, always the same.

    It says that it is certain of three quarters of a block in the first pass over it, and of all in the next.
    """

    def __init__(
        self,
        backend: Backend,
        clock: ClockBetweenPasses,
        shape: tuple[int, int],
        vocab_size: int,
        width: int,
        forecast: UntrainedForecast | None = None,
    ) -> None:
        rng = np.random.default_rng(0)
        self._backend, self._clock, self.forecast = backend, clock, forecast
        self._logits = rng.standard_normal((*shape, vocab_size), dtype=np.float32)
        self._hidden = rng.standard_normal((*shape, width), dtype=np.float32)
        self._start = -1
        self._certain = np.ones(shape, dtype=np.float32)
        self._doubtful = self._certain.copy()
        self._doubtful[:, -(-3 * shape[1] // 4) :] = 0.5

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        """See `hwsearch.decoding.backend.Backend.begin`."""
        self._backend.begin()
        self._start = -1

    def refresh(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """See `hwsearch.decoding.backend.Backend.refresh`."""
        with self._clock.stopped():
            found = self._backend.refresh(tokens, start, stop)
        return self._handed(found, start)

    def step(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """See `hwsearch.decoding.backend.Backend.step`."""
        with self._clock.stopped():
            found = self._backend.step(tokens, start, stop)
        return self._handed(found, start)

    def _handed(self, found: Prediction, start: int) -> Prediction:
        certain = self._certain if start == self._start else self._doubtful
        self._start = start
        return found._replace(confidence=certain, logits=self._logits, hidden=self._hidden)
