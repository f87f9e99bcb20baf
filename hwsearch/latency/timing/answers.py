"""Time whole models as they are used: the same prompts answered by each, side by side.

Idea: an answer to one prompt takes as long every time, so what differs from round to round is the
machine. Hence each answer is timed by itself, its rounds give a median, and a generation is the mean of
these over prompts. Of a model's answers in one sample together some are always disturbed where a machine
is shared, and then so is every sample. A shared machine is also slower for seconds on end, so models take
turns after a few prompts: what falls on one of them falls on the others.
"""

from __future__ import annotations

import random
import time
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

#: Prompts that a model answers before it is another's turn: few seconds of the slowest ones.
PROMPTS_A_TURN = 8

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
        samples_ms: milliseconds of each generation by model, ``[rounds][prompts]``.
        passes: passes of each model's generations.
        reference_ms: a fixed piece of arithmetic, timed in the same rounds: how fast the machine
            was just then. Times of two measurements compare best as multiples of it.
    """

    samples_ms: Mapping[str, Sequence[Sequence[float]]]
    passes: Mapping[str, PassCounts]
    reference_ms: float

    def generation_ms(self, name: str) -> float:
        """Milliseconds of a generation of one model: the mean over prompts of their medians over rounds."""
        return float(np.median(self.samples_ms[name], axis=0).mean())

    def tokens_per_second(self, name: str) -> float:
        """Tokens of one model's answers by the time they take."""
        return 1e3 * self.passes[name].mean_tokens / self.generation_ms(name)


def time_answers(
    models: Mapping[str, Answerer],
    prompts: Sequence[Prompt],
    *,
    rounds: int = 5,
    threads: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    progress: Callable[[Iterable[int]], Iterable[int]] = iter,
) -> AnswerTimes:
    """Time models on the same prompts, interleaved, so that their ratios hold on a busy machine.

    Args:
        models: by name.
        prompts: tokens of each, or those on both sides of a blank; every model answers all of them in
            every round.
        rounds: samples of each model.
        threads: processors to stay on.
        clock: seconds, monotonic.
        progress: wraps the rounds, to show them.
    """

    samples: dict[str, list[list[float]]] = {name: [] for name in models}
    references: list[float] = []
    order, rng = list(models), random.Random(0)
    with pinned(threads):
        passes = {name: _passes(model, prompts) for name, model in models.items()}
        for _ in progress(range(rounds)):
            for name in models:
                samples[name].append([])
            for begin in range(0, len(prompts), PROMPTS_A_TURN):
                turn = prompts[begin : begin + PROMPTS_A_TURN]
                rng.shuffle(order)
                for name in order:
                    models[name].answer(turn[0])  # the coldest one is nobody's
                    samples[name][-1] += [_ms(models[name], prompt, clock) for prompt in turn]
            references += interleave({"reference": reference()}, 1)["reference"]
    return AnswerTimes(samples, passes, float(np.median(references)) / 1e3)


def _ms(model: Answerer, prompt: Prompt, clock: Callable[[], float]) -> float:
    """Milliseconds of one answer."""
    began = clock()
    model.answer(prompt)
    return (clock() - began) * 1e3


def _passes(model: Answerer, prompts: Sequence[Prompt]) -> PassCounts:
    """The passes that a model's answers take; asking for them also warms it."""
    samples = [(model.answer(prompt), 0) for prompt in prompts]
    return PassCounts.of(model.decoding, samples, model.end_tokens)
