"""Time whole models: the passes and the generations of exported bundles."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np

from hwsearch.decoding.backend import Backend, Tokens
from hwsearch.decoding.batches import PromptBatch
from hwsearch.decoding.sampler import generate
from hwsearch.latency.generations import ScheduledGeneration, scheduled_generations
from hwsearch.latency.operators import Workload
from hwsearch.latency.timing.clock import SAMPLE_SECONDS, interleave
from hwsearch.latency.timing.pinning import pinned


@dataclass(frozen=True)
class Timing:
    """Measured times of one model, in milliseconds, one entry a sample.

    Attributes:
        refresh_ms: refresh passes.
        step_ms: step passes.
        generation_ms: whole generations of the workload.
        short_ms: further ones, where they were asked for.
    """

    refresh_ms: tuple[float, ...]
    step_ms: tuple[float, ...]
    generation_ms: tuple[float, ...]
    short_ms: tuple[tuple[float, ...], ...] = ()

    @property
    def p50(self) -> tuple[float, ...]:
        """Medians of refresh, step, generation and further generations."""
        parts = (self.refresh_ms, self.step_ms, self.generation_ms, *self.short_ms)
        return tuple(float(np.median(part)) for part in parts)


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
    writers: Mapping[str, Backend] | None = None,
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
        writers: others of the same models that write all of `scheduled_generations`, from prompts of several
            lengths; None has `backends` write the workload's own, from one prompt.
        progress: wraps the rounds, to show them.
    """
    runs = backend_runs(
        backends, workload, mask_token_id, vocab_size=vocab_size, writers=writers
    ) | {_REFERENCE: reference()}
    lasting = {key: SAMPLE_SECONDS if key[1] < 2 else GENERATION_SECONDS for key in runs}
    with pinned(threads):
        samples = interleave(runs, rounds, sample_seconds=lasting, progress=progress)
    timings = {}
    for name in backends:
        parts = sorted(part for model, part in runs if model == name)
        refresh, step, own, *rest = (tuple(us / 1e3 for us in samples[name, p]) for p in parts)
        timings[name] = Timing(refresh, step, own, tuple(rest))
    return Measurement(timings, float(np.median(samples[_REFERENCE])) / 1e3)


def backend_runs(
    backends: Mapping[str, Backend],
    workload: Workload,
    mask_token_id: int,
    *,
    vocab_size: int = 100,
    writers: Mapping[str, Backend] | None = None,
) -> dict[tuple[str, int], Callable[[], object]]:
    """What to time of whole models: (name, 0) refreshes, (name, 1) steps, (name, 2) generates.

    Writers have keys from (name, 2) on, one for each generation. Arguments are those of `time_backends`.
    """
    batches = _prompts(workload, vocab_size)
    blank = np.full((1, workload.decoding.gen_length), mask_token_id)
    tokens = batches[0].around(blank).astype(np.int64)
    generations = scheduled_generations(workload.decoding)
    if writers is None:  # what steps find in the cache is of one length
        writers, batches, generations = backends, batches[:1], generations[:1]
    runs: dict[tuple[str, int], Callable[[], object]] = {}
    for name, backend in backends.items():
        runs[name, 0], runs[name, 1] = _passes(backend, tokens, workload)
        for place, timed in enumerate(generations, 2):
            runs[name, place] = _generation(
                writers[name], batches, timed, mask_token_id, range(vocab_size)
            )
    return runs


def _prompts(workload: Workload, vocab_size: int) -> list[PromptBatch]:
    """Random prompts about as long as the workload's, which is the first: users ask no two alike.

    A runtime may prepare itself anew for each length, and a generation pays for that.
    """
    rng = np.random.default_rng(0)
    given = workload.prompt_length, workload.suffix_length
    sizes = [tuple(max(min(n, 1), round(n * times)) for n in given) for times in LENGTHS]
    return [
        PromptBatch([0], *(rng.integers(0, vocab_size, (1, n)) for n in lengths))
        for lengths in sizes
    ]


#: Lengths of the prompts that generations go on from, in those of the workload; their mean is 1.
LENGTHS = (1.0, 0.85, 1.15, 0.93, 1.07)

#: How long a sample of generations lasts: those of few passes are answered one after another.
GENERATION_SECONDS = 0.08

#: Key of the reference among the runs; no model has this name.
_REFERENCE = ("", -1)


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
    backend: Backend,
    batches: Sequence[PromptBatch],
    timed: ScheduledGeneration,
    mask_token_id: int,
    vocabulary: range,
) -> Callable[[], object]:
    """Answers the next of some prompts each time it is called."""
    upcoming = cycle(batches)
    # any token ends one that is to end early, whatever the model writes
    ends = vocabulary if timed.decoding.stop_at_end else ()

    def run() -> object:
        batch = next(upcoming)
        return generate(
            backend,
            batch.prompts,
            timed.decoding,
            mask_token_id,
            end_tokens=ends,
            suffixes=batch.suffixes,
        )

    return run
