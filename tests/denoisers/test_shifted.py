"""Logits shifted by one (Dream): every reader of a model's passes puts them where they belong."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.transformer import Transformer
from hwsearch.plan import Decoding
from hwsearch.sinks import calibrate_sinks
from hwsearch.tasks.losses import LOSSES, make_loss
from hwsearch.tasks.problem import Problem
from hwsearch.testing.tiny import tiny_denoiser

PROBLEMS = [Problem("tom has 3 apples ?", "#### 3"), Problem("tom has 4 apples ?", "#### 4")]


def with_geometry(**changes):
    plain = tiny_denoiser()
    network = Transformer(replace(plain.geometry, **changes)).eval().requires_grad_(False)
    network.load_state_dict(plain.network.state_dict(), strict=False)
    return replace(plain, network=network, name="shifted")


@pytest.fixture(scope="module")
def shifted():
    return with_geometry(logit_shift=True)


def test_logits_are_the_plain_model_s_one_position_later(shifted):
    tokens = torch.arange(10)[None]
    plain = tiny_denoiser().logits(tokens)
    assert torch.equal(shifted.logits(tokens)[:, 1:], plain[:, :-1])
    assert torch.equal(shifted.logits(tokens)[:, 0], plain[:, 0])


def test_cached_decoding_without_a_cache_is_decoding_by_full_passes(shifted):
    decoding = Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=1)
    prompt = np.array([shifted.prompt(PROBLEMS[0].question)])
    written = generate(backend_of(shifted.network, KeptShares.keeping_all(2)), prompt, decoding, 0)
    tokens = np.concatenate((prompt, np.zeros((1, 8), dtype=np.int64)), axis=1)
    for start in (prompt.shape[1], prompt.shape[1] + 4):
        for _ in range(4):
            probability = shifted.logits(torch.from_numpy(tokens))[0].softmax(-1)
            best, token = probability[start : start + 4].max(-1)
            best[torch.from_numpy(tokens[0, start : start + 4]) != 0] = -1
            at = int(best.argmax())
            tokens[0, start + at] = token[at]
    assert written.tolist() == tokens.tolist()


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_judges_the_right_positions(shifted, name):
    loss_function = make_loss(name, shifted, PROBLEMS)
    same = loss_function.loss(shifted.network, KeptShares.keeping_all(2))
    unshifted = loss_function.loss(tiny_denoiser().network, KeptShares.keeping_all(2))
    assert same != pytest.approx(unshifted, rel=1e-3)
    if name in ("kl", "agreement"):
        assert same == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_knows_dreams_own_rule(shifted, name):
    decoding = Decoding(gen_length=8, block_length=8, steps=4, refresh_interval=1, rule="entropy")
    dream = replace(shifted, decoding=decoding)
    assert make_loss(name, dream, PROBLEMS).loss(dream.network, KeptShares.keeping_all(2)) >= -1e-6


def test_sinks_are_calibrated(shifted):
    profile = calibrate_sinks(shifted, [PROBLEMS[0].question])
    assert len(profile.shares) == 2
    # sinks depend on what was written, and that depends on the shift
    assert profile != calibrate_sinks(tiny_denoiser(), [PROBLEMS[0].question])
