"""Time whole models as they are used: the same prompts answered by each, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hwsearch.decoding.batches import Prompt
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.decoding.sampler import Generation
from hwsearch.latency.timing.bundles import reference
from hwsearch.latency.timing.clock import interleave
from hwsearch.latency.timing.pinning import pinned
from hwsearch.plan import Decoding

#: A prompt's tokens answered.
Answer = Callable[[Prompt], Generation]


@dataclass(frozen=True, eq=False)
class Answerer:
    """A model that is timed.

    Attributes:
        answer: answers a prompt.
        decoding: how.
        end_tokens: tokens that end an answer.
    """

    answer: Answer
    decoding: Decoding
    end_tokens: frozenset[int]


@dataclass(frozen=True, eq=False)
class AnswerTimes:
    """Models that answered the same prompts side by side.

    Attributes:
        samples_ms: milliseconds a generation, the mean over prompts, one sample a round, by model.
        passes: passes of each model's generations.
        reference_ms: a fixed piece of arithmetic, timed in the same rounds: how fast the machine
            was just then. Times of two measurements compare best as multiples of it.
    """

    samples_ms: Mapping[str, Sequence[float]]
    passes: Mapping[str, PassCounts]
    reference_ms: float

    def generation_ms(self, name: str) -> float:
        """Milliseconds of a generation of one model: the median over rounds of the mean over prompts."""
        return float(np.median(self.samples_ms[name]))

    def tokens_per_second(self, name: str) -> float:
        """Tokens of one model's answers by the time they take."""
        return 1e3 * self.passes[name].mean_tokens / self.generation_ms(name)


#: Key of the reference among the runs; no model has this name.
_REFERENCE = ""


def time_answers(
    models: Mapping[str, Answerer],
    prompts: Sequence[Prompt],
    *,
    rounds: int = 5,
    threads: int = 1,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> AnswerTimes:
    """Time models on the same prompts, interleaved, so that their ratios hold on a busy machine.

    Args:
        models: by name.
        prompts: tokens of each, or those on both sides of a blank; every model answers all of them in
            every round.
        rounds: samples of each model.
        threads: processors to stay on.
        progress: wraps the rounds, to show them.
    """

    def run(model: Answerer) -> Callable[[], object]:
        return lambda: [model.answer(prompt) for prompt in prompts]

    with pinned(threads):
        passes = {name: _passes(model, prompts) for name, model in models.items()}
        runs = {name: run(model) for name, model in models.items()} | {_REFERENCE: reference()}
        samples = interleave(runs, rounds, progress=progress)
    return AnswerTimes(
        {name: [us / 1e3 / len(prompts) for us in samples[name]] for name in models},
        passes,
        float(np.median(samples[_REFERENCE])) / 1e3,
    )


def _passes(model: Answerer, prompts: Sequence[Prompt]) -> PassCounts:
    """The passes that a model's answers take; asking for them also warms it."""
    samples = [(model.answer(prompt), 0) for prompt in prompts]
    return PassCounts.of(model.decoding, samples, model.end_tokens)
