"""The bundled twins: one transformer, one recipe, two directions."""

from dataclasses import replace

import pytest

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.tasks.evaluation import evaluate
from hwsearch.tasks.task import GSM_MINI


@pytest.fixture(scope="module")
def twins():
    return load_denoiser("gsm-mini"), load_denoiser("gsm-mini-ar")


def test_the_twins_are_of_one_size_and_vocabulary(twins):
    masked, causal = twins
    assert replace(causal.geometry, causal=False, logit_shift=False) == masked.geometry
    assert causal.geometry.causal
    assert causal.tokenizer.to_str() == masked.tokenizer.to_str()
    assert causal.decoding.gen_length == masked.decoding.gen_length


def test_the_autoregressive_twin_solves_problems(twins):
    causal = twins[1]
    backend = backend_of(causal.network, KeptShares.keeping_all(causal.num_layers))
    score = evaluate(backend, causal, GSM_MINI.problems("test", 12, 0)).score
    assert score.solved >= 8
