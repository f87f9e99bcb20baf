"""What a model writes for calibration questions, as forecasts are fitted on it."""

import numpy as np
import torch

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers import forecasts
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.forecasts import ForecastFitter
from hwsearch.testing.tiny import tiny_denoiser

QUESTIONS = [f"tom has {n} apples ?" for n in range(4)] + ["tom has 3 apples and buys 5 more ?"]
KEPT = KeptShares.keeping_all(2)


def watched(denoiser, **changes):
    decoding = denoiser.decoding.changed(
        {"commit": {"policy": "threshold", "threshold": 0.5}, **changes}
    )
    return decoding, ForecastFitter(denoiser, QUESTIONS).watched(denoiser.network, KEPT, decoding)


def test_each_block_of_each_answer_is_kept_pass_by_pass():
    denoiser = tiny_denoiser()
    decoding, blocks = watched(denoiser)
    assert len(blocks) == len(QUESTIONS) * decoding.num_blocks
    for block in blocks:
        passes, length = block.masked.shape
        assert length == decoding.block_length and passes == decoding.block_length
        assert block.masked[0].all() and block.masked[-1].any()
        left = block.masked.sum(axis=1)
        assert (np.diff(left) < 0).all(), "every pass writes something"
        assert block.logits.shape == (passes, length, 64)


def test_hidden_states_are_what_the_logits_are_of():
    for shifted in (False, True):
        denoiser = tiny_denoiser(logit_shift=shifted)
        for changes in ({}, {"window": {"advance": True}}, {"window": {"before": 2, "after": 1}}):
            _, blocks = watched(denoiser, **changes)
            for block in blocks:
                head = denoiser.network.lm_head(torch.from_numpy(block.hidden)).detach().numpy()
                assert np.allclose(head, block.logits, atol=1e-5)


def test_logits_are_those_of_the_passes():
    denoiser = tiny_denoiser()
    decoding, blocks = watched(denoiser)
    prompt = denoiser.given(QUESTIONS[-1]).prompt
    (own,) = [b for b in blocks[-decoding.num_blocks :] if b is blocks[-decoding.num_blocks]]
    backend = backend_of(denoiser.network, KEPT)
    backend.begin()
    tokens = np.array([[*prompt, *[denoiser.mask_token_id] * decoding.gen_length]])
    first = backend.refresh_logits(tokens, len(prompt), len(prompt) + decoding.block_length)
    assert np.allclose(own.logits[0], first[0].numpy(), atol=1e-5)


def test_a_large_vocabulary_is_fitted_on_fewer_questions(monkeypatch):
    denoiser = tiny_denoiser()
    decoding, blocks = watched(denoiser)
    each = 4 * decoding.gen_length * 64 * 4
    monkeypatch.setattr(forecasts, "MOST_BYTES", 2 * each)
    _, few = watched(denoiser)
    assert len(blocks) == 5 * decoding.num_blocks and len(few) == 2 * decoding.num_blocks
    monkeypatch.setattr(forecasts, "MOST_BYTES", 1)
    assert len(watched(denoiser)[1]) == decoding.num_blocks
