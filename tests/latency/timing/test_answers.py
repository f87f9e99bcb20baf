"""Models timed on the same prompts: what they took, and by which passes."""

import numpy as np
import pytest

from hwsearch.decoding.answer import end_token_ids
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import PassKind
from hwsearch.decoding.sampler import generation
from hwsearch.denoisers.backends import backend_of
from hwsearch.latency.timing.answers import Answerer, AnswerTimes, time_answers
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


def test_the_median_over_rounds_is_told_and_tokens_by_it():
    denoiser = tiny_denoiser()
    passes = time_answers(
        {"m": answerer(denoiser, denoiser.decoding)}, PROMPTS[:1], rounds=1
    ).passes
    times = AnswerTimes({"m": [30.0, 10.0, 20.0]}, passes, 1.0)
    assert times.generation_ms("m") == 20.0
    assert times.tokens_per_second("m") == pytest.approx(passes["m"].mean_tokens / 0.02)
