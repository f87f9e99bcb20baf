import itertools
import math

import numpy as np
import pytest
import torch

from hwsearch.compression import WeightBank, compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.plan import CompressionPlan
from hwsearch.tasks.losses import (
    LOSSES,
    AnswerDigits,
    GradualLoss,
    MaskedLikelihood,
    make_loss,
)
from hwsearch.tasks.losses.digits import result_tokens
from hwsearch.tasks.losses.masked_likelihood import draw_masks
from hwsearch.tasks.problem import Problem
from hwsearch.testing.tiny import tiny_denoiser, tiny_tokenizer

PROBLEMS = [
    Problem("tom has 3 apples ?", "#### 3"),
    Problem("tom has 4 apples ?", "#### 4"),
    Problem("tom has 4 apples and buys 5 more ?", "4 + 5 = 9 #### 9"),
]


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser()


@pytest.fixture(scope="module")
def bank(denoiser):
    return WeightBank(denoiser)


def loss(loss_function, denoiser, bank, *plan, shares=(1.0, 1.0)):
    network = compress(denoiser, CompressionPlan.uniform(2, *plan), bank).network
    return loss_function.loss(network, KeptShares(shares))


@pytest.mark.parametrize("name", LOSSES)
def test_every_proxy_is_frozen_and_sees_formats_and_sinks(name, denoiser, bank):
    loss_function = make_loss(name, denoiser, PROBLEMS)
    assert loss_function.name == name
    assert loss_function.cost > 0
    plain = loss(loss_function, denoiser, bank)
    assert plain == loss(make_loss(name, denoiser, PROBLEMS), denoiser, bank)
    assert plain != pytest.approx(loss(loss_function, denoiser, bank, "w4", "w4"), abs=1e-4)
    assert plain != pytest.approx(loss(loss_function, denoiser, bank, shares=(0.1, 0.1)), abs=1e-4)


@pytest.mark.parametrize("name", LOSSES)
def test_every_proxy_can_be_watched_state_by_state(name, denoiser, bank):
    loss_function = make_loss(name, denoiser, PROBLEMS)
    network = compress(denoiser, CompressionPlan.uniform(2, "w4", "w4"), bank).network
    assert isinstance(loss_function, GradualLoss)
    parts = list(loss_function.by_state(network, KeptShares((0.6, 1.0))))
    assert len(parts) > 1
    assert parts[-1].so_far == loss_function.loss(network, KeptShares((0.6, 1.0)))
    assert sum(part.weight for part in parts) == pytest.approx(1.0)
    assert sum(part.weight * part.loss for part in parts) == pytest.approx(parts[-1].so_far)
    assert sum(part.work for part in parts) == pytest.approx(loss_function.cost)
    seen = list(itertools.accumulate(part.weight * part.loss for part in parts))
    weights = list(itertools.accumulate(part.weight for part in parts))
    if name != "kl":  # its two passes are means of their own
        for part, total, weight in zip(parts, seen, weights, strict=True):
            assert part.so_far == pytest.approx(total / weight)


@pytest.mark.parametrize("name", ["kl", "agreement"])
def test_those_against_the_uncompressed_model_are_zero_for_it(name, denoiser, bank):
    loss_function = make_loss(name, denoiser, PROBLEMS)
    assert loss(loss_function, denoiser, bank) == pytest.approx(0.0, abs=1e-6)
    assert loss(loss_function, denoiser, bank, "w4", "w4") > 0


def test_the_likelihood_is_llada_s_bound(denoiser, bank):
    """Recomputed from full passes: the cache of an uncompressed model at equal tokens is exact."""
    loss_function = MaskedLikelihood.record(denoiser, PROBLEMS)
    total, rows = 0.0, 0
    for batch in loss_function.batches:
        tokens = torch.from_numpy(batch.masked(denoiser.mask_token_id))
        start = batch.given.prompts.shape[1]
        logp = denoiser.logits(tokens).log_softmax(-1)[:, start:]
        right = logp.gather(-1, torch.from_numpy(batch.targets)[..., None])[..., 0].numpy()
        masked = tokens[:, start:].numpy() == denoiser.mask_token_id
        total += -(right * masked / masked.sum(axis=1, keepdims=True)).sum()
        rows += len(right)
    assert rows == 3
    assert loss(loss_function, denoiser, bank) == pytest.approx(total / rows, rel=1e-4)


def test_a_model_that_knows_nothing_scores_the_entropy_of_the_vocabulary(denoiser):
    flat = tiny_denoiser()
    flat.network.lm_head.weight.zero_()
    for name in ("nll", "digits"):
        loss_function = make_loss(name, denoiser, PROBLEMS)
        assert loss_function.loss(flat.network, KeptShares.keeping_all(2)) == pytest.approx(
            math.log(64), rel=1e-5
        )


def test_masks_are_stratified_over_their_number():
    masked = draw_masks(64, 8, np.random.default_rng(3)).sum(axis=1)
    assert np.bincount(masked, minlength=9)[1:].tolist() == [8] * 8


def test_only_computed_numbers_are_masked():
    text = "bags 3 * 4 =12 more >>12 and 5 #### 12"
    encoding = tiny_tokenizer().encode(text)
    found = result_tokens(text, encoding, len(encoding.ids))
    judged = [text[slice(*encoding.offsets[i])] for i in np.flatnonzero(found)]
    assert all("12" in token for token in judged)
    assert len(judged) == 3


def test_cost_counts_cached_rows_by_their_share(denoiser):
    loss_function = AnswerDigits.record(denoiser, PROBLEMS[:1])
    # one prompt of 6 tokens and 8 written: "#### 3" lies in the first block of 4
    length = len(denoiser.prompt(PROBLEMS[0].question)) + 8
    assert loss_function.cost == pytest.approx(1 + 4 / length)


def test_what_does_not_fit_is_said(denoiser):
    with pytest.raises(UnknownNameError, match="did you mean 'nll'"):
        make_loss("nlll", denoiser, PROBLEMS)
    long = [Problem("tom ?", "apples " * 9)]
    with pytest.raises(InputError, match="none of the 1 answers fits in the 8 tokens"):
        make_loss("nll", denoiser, long)
    with pytest.raises(InputError, match="no answer holds a result"):
        make_loss("digits", denoiser, [Problem("tom ?", "apples")])
