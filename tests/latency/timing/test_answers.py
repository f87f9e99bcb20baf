"""Models timed on the same prompts: what they took, and by which passes."""

from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest

from hwsearch.decoding.answer import end_token_ids
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import PassKind
from hwsearch.decoding.sampler import generation
from hwsearch.denoisers.backends import backend_of
from hwsearch.latency.timing.answers import PROMPTS_A_TURN, Answerer, AnswerTimes, time_answers
from hwsearch.testing.timers import FakeClock
from hwsearch.testing.tiny import tiny_denoiser

PROMPTS = ([5, 6, 7], [8, 9, 10, 11])


def answerer(denoiser, decoding):
    backend = backend_of(denoiser.network, KeptShares.keeping_all(denoiser.num_layers))
    ends = frozenset(end_token_ids(denoiser))

    def answer(prompt):
        tokens = np.array([prompt])
        return generation(backend, tokens, decoding, denoiser.mask_token_id, end_tokens=ends)

    return Answerer(answer, decoding, ends)


def test_every_model_answers_every_prompt_in_every_round():
    denoiser = tiny_denoiser()
    quick = denoiser.decoding.changed({"commit": {"policy": "threshold", "threshold": 0.01}})
    models = {
        "makers": answerer(denoiser, denoiser.decoding),
        "quick": answerer(denoiser, quick),
    }
    found = time_answers(models, PROMPTS, rounds=3)
    assert {name: len(samples) for name, samples in found.samples_ms.items()} == {
        "makers": 3,
        "quick": 3,
    }
    assert found.passes["makers"].total == denoiser.decoding.steps
    assert found.passes["quick"].total < denoiser.decoding.steps
    assert found.passes["quick"].by_kind[PassKind.REFRESH] == quick.num_blocks
    assert found.generation_ms("makers") > 0
    assert found.reference_ms > 0


def test_a_disturbed_answer_is_no_generation_s_time():
    """Every sample of three answers holds one that was disturbed, and none shows."""
    denoiser = tiny_denoiser()
    times = AnswerTimes(
        {"m": [[30.0, 2.0, 6.0], [1.0, 50.0, 6.0], [1.0, 2.0, 90.0]]},
        time_answers({"m": answerer(denoiser, denoiser.decoding)}, PROMPTS[:1], rounds=1).passes,
        1.0,
    )
    assert times.generation_ms("m") == 3.0
    mean_tokens = times.passes["m"].mean_tokens
    assert times.tokens_per_second("m") == pytest.approx(mean_tokens / 0.003)


def test_answers_take_what_the_clock_says_in_turns():
    """Each answer is timed by itself, whatever ran before it."""
    clock, denoiser = FakeClock(), tiny_denoiser()
    models = {}
    for name, seconds in (("quick", 1e-3), ("slow", 4e-3)):
        real = answerer(denoiser, denoiser.decoding)
        models[name] = replace(real, answer=_clocked(clock, name, seconds, real.answer))
    found = time_answers(models, PROMPTS, rounds=4, clock=clock)
    for name, ms in (("quick", 1.0), ("slow", 4.0)):
        expected = [[ms * len(prompt) for prompt in PROMPTS]] * 4
        assert found.samples_ms[name] == [pytest.approx(row) for row in expected]
        assert found.generation_ms(name) == pytest.approx(ms * 3.5)
    # one answer of each prompt counts passes; then a sample is one that is nobody's, and all prompts
    sample = len(PROMPTS) + 1
    turns = clock.order[2 * len(PROMPTS) :: sample]
    assert [set(turns[i : i + 2]) for i in range(0, 8, 2)] == [{"quick", "slow"}] * 4


def test_models_take_turns_after_a_few_prompts():
    """A machine that is slow for seconds is so to all; the first answer of each turn is nobody's."""
    clock, denoiser, prompts = FakeClock(), tiny_denoiser(), [[5, 6, 7]] * (PROMPTS_A_TURN + 1)
    real = answerer(denoiser, denoiser.decoding)
    models = {name: replace(real, answer=_clocked(clock, name, 1e-3, real.answer)) for name in "ab"}
    found = time_answers(models, prompts, rounds=2, clock=clock)
    assert [len(row) for row in found.samples_ms["a"]] == [len(prompts)] * 2
    timed = clock.order[2 * len(prompts) :]
    turns = [(name, len(list(group))) for name, group in groupby(timed)]
    # a model may end one turn and begin the next
    assert sum(count for _, count in turns) == 2 * 2 * (len(prompts) + 2)
    assert max(count for _, count in turns) <= PROMPTS_A_TURN + 1 + 2


def _clocked(clock, name, seconds, answer):
    def run(prompt):
        clock.taking(name, seconds * len(prompt))()
        return answer(prompt)

    return run
