"""Time what a forecast costs after each pass, where it runs: between the passes of a generation.

Idea: a generation that writes one token a pass, whatever the model predicts, has a known number of passes.
It is run as it is, and with a forecast after each pass that is never sure of anything. What it takes
longer, by its passes, is the forecast's price. Run by itself over and over a forecast takes a fraction of
that: it finds its code and its numbers where the last one left them.

Limits: numbers are random, and masks left are half of the block in the mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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

#: How long a sample lasts: some generations of a small model.
SAMPLE_SECONDS = 0.08


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
    decoding = one_token_a_pass(workload.decoding)
    shape = (1, decoding.block_length)
    hands_out = _Handing(backend, shape, vocab_size, width)
    prompt = np.random.default_rng(0).integers(0, vocab_size, (1, workload.prompt_length))
    batch = PromptBatch([0], prompt, prompt[:, :0])
    runs = {PLAIN: _run(hands_out, batch, decoding, mask_token_id, vocab_size)}
    for name in METHODS:
        foreseeing = decoding.changed({"forecast": {"method": name, "threshold": 1.0}})
        assert foreseeing.forecast is not None
        forecast = UntrainedForecast.of(foreseeing.forecast, vocab_size, width, shape[1])
        writer = _Handing(backend, shape, vocab_size, width, forecast)
        runs[name] = _run(writer, batch, foreseeing, mask_token_id, vocab_size)
    with pinned(threads):
        samples = interleave(runs, rounds, sample_seconds=SAMPLE_SECONDS)
    return _prices(samples, decoding.block_length)


def _prices(samples_us: Mapping[str, list[float]], passes: int) -> dict[str, float]:
    """What each method costs after a pass, in milliseconds: its rounds against those without."""
    plain = np.array(samples_us[PLAIN])
    return {
        name: max(0.0, float(np.median(np.array(own) - plain))) / passes / 1e3
        for name, own in samples_us.items()
        if name != PLAIN
    }


def one_token_a_pass(decoding: Decoding) -> Decoding:
    """A decoding that writes the first block, one token in each pass, whatever is predicted.

    No probability is above 1, so its policy writes the most certain token alone.
    """
    certain = {"policy": "threshold", "threshold": 1.0}
    return decoding.changed({"commit": certain, "stop_at_end": True, "temperature": 0.0})


def _run(
    writer: Backend, batch: PromptBatch, decoding: Decoding, mask_token_id: int, vocab_size: int
) -> Callable[[], object]:
    every = range(vocab_size)  # any token ends the generation with its first block
    return lambda: generate(writer, batch.prompts, decoding, mask_token_id, end_tokens=every)


class _Handing:
    """A backend that hands out logits and states beside its predictions: random ones, always the same."""

    def __init__(
        self,
        backend: Backend,
        shape: tuple[int, int],
        vocab_size: int,
        width: int,
        forecast: UntrainedForecast | None = None,
    ) -> None:
        rng = np.random.default_rng(0)
        self._backend, self.forecast = backend, forecast
        self._logits = rng.standard_normal((*shape, vocab_size), dtype=np.float32)
        self._hidden = rng.standard_normal((*shape, width), dtype=np.float32)

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        """See `hwsearch.decoding.backend.Backend.begin`."""
        self._backend.begin()

    def refresh(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """See `hwsearch.decoding.backend.Backend.refresh`."""
        return self._handed(self._backend.refresh(tokens, start, stop))

    def step(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """See `hwsearch.decoding.backend.Backend.step`."""
        return self._handed(self._backend.step(tokens, start, stop))

    def _handed(self, found: Prediction) -> Prediction:
        return found._replace(logits=self._logits, hidden=self._hidden)
