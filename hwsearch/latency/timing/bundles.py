"""Time whole models: the passes and the generations of exported bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from hwsearch.decoding.backend import Backend, Tokens
from hwsearch.decoding.batches import PromptBatch
from hwsearch.decoding.sampler import generate
from hwsearch.latency.operators import Workload
from hwsearch.latency.timing.clock import interleave
from hwsearch.latency.timing.pinning import pinned


@dataclass(frozen=True)
class Timing:
    """Measured times of one model, in milliseconds, one entry a sample.

    Attributes:
        refresh_ms: refresh passes.
        step_ms: step passes.
        generation_ms: whole generations of the workload.
    """

    refresh_ms: tuple[float, ...]
    step_ms: tuple[float, ...]
    generation_ms: tuple[float, ...]

    @property
    def p50(self) -> tuple[float, float, float]:
        """Medians of refresh, step and generation."""
        return tuple(
            float(np.median(part)) for part in (self.refresh_ms, self.step_ms, self.generation_ms)
        )  # type: ignore[return-value]


@dataclass(frozen=True)
class Measurement:
    """Models that were timed side by side.

    Attributes:
        timings: times by model.
        reference_ms: a fixed piece of arithmetic, timed in the same rounds: how fast the machine
            was just then. Times of two measurements compare best as multiples of it.
    """

    timings: dict[str, Timing]
    reference_ms: float

    def generation_ms(self, name: str) -> float:
        """Median time of a generation of one model."""
        return self.timings[name].p50[2]


def time_backends(
    backends: Mapping[str, Backend],
    workload: Workload,
    mask_token_id: int,
    *,
    rounds: int = 15,
    threads: int = 1,
    vocab_size: int = 100,
    seed: int = 0,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> Measurement:
    """Time models side by side, interleaved, so that their ratios hold on a busy machine.

    Args:
        backends: the models by name, each with batch 1.
        workload: what each generates; what is given is random tokens.
        mask_token_id: fills the part to be written.
        rounds: samples of each pass and of each generation.
        threads: processors to stay on.
        vocab_size: random prompt tokens are below this.
        seed: of the prompt.
        progress: wraps the rounds, to show them.
    """
    runs = backend_runs(backends, workload, mask_token_id, vocab_size=vocab_size, seed=seed)
    with pinned(threads):
        samples = interleave(runs | {_REFERENCE: reference()}, rounds, progress=progress)
    timings = {
        name: Timing(*(tuple(us / 1e3 for us in samples[name, part]) for part in range(3)))
        for name in backends
    }
    return Measurement(timings, float(np.median(samples[_REFERENCE])) / 1e3)


def backend_runs(
    backends: Mapping[str, Backend],
    workload: Workload,
    mask_token_id: int,
    *,
    vocab_size: int = 100,
    seed: int = 0,
) -> dict[tuple[str, int], Callable[[], object]]:
    """What to time of whole models: (name, 0) refreshes, (name, 1) steps, (name, 2) generates.

    Arguments are those of `time_backends`.
    """
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, vocab_size, (1, workload.prompt_length))
    suffix = rng.integers(0, vocab_size, (1, workload.suffix_length))
    blank = np.full((1, workload.decoding.gen_length), mask_token_id)
    batch = PromptBatch([0], prompt, suffix)
    tokens = batch.around(blank).astype(np.int64)
    runs: dict[tuple[str, int], Callable[[], object]] = {}
    for name, backend in backends.items():
        runs[name, 0], runs[name, 1] = _passes(backend, tokens, workload)
        runs[name, 2] = _generation(backend, batch, workload, mask_token_id)
    return runs


#: Key of the reference among the runs; no model has this name.
_REFERENCE = ("", 0)


def reference() -> Callable[[], object]:
    """A fixed piece of arithmetic: how fast the machine is."""
    matrix = np.random.default_rng(0).standard_normal((128, 128), dtype=np.float32)
    # einsum runs on one thread, whatever the linear algebra library is set to
    return lambda: np.einsum("ij,jk->ik", matrix, matrix)


def _passes(
    backend: Backend, tokens: Tokens, workload: Workload
) -> tuple[Callable[[], object], Callable[[], object]]:
    start = workload.prompt_length
    stop = start + workload.decoding.block_length

    def refresh() -> object:
        backend.begin()
        return backend.refresh(tokens, start, stop)

    def step() -> object:
        return backend.step(tokens, start, stop)

    refresh()
    return refresh, step


def _generation(
    backend: Backend, batch: PromptBatch, workload: Workload, mask_token_id: int
) -> Callable[[], object]:
    return lambda: generate(
        backend, batch.prompts, workload.decoding, mask_token_id, suffixes=batch.suffixes
    )
