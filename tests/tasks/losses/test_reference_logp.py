"""Log-probabilities of a large vocabulary, kept in part: what is lost is bounded."""

import pytest
import torch

from hwsearch.tasks.losses import reference_logp
from hwsearch.tasks.losses.reference_logp import TopLogp, WholeLogp, reference_of

VOCAB, ROWS = 50_000, (2, 5)
MASKED = torch.rand(ROWS, generator=torch.Generator().manual_seed(3)) < 0.7


def logits(sharpness, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return sharpness * torch.randn(*ROWS, VOCAB, generator=generator)


@pytest.mark.parametrize("sharpness", [0.1, 1.0, 4.0, 12.0])
@pytest.mark.parametrize("moved", [1e-3, 0.1, 1.0])
def test_a_kept_part_loses_no_more_than_its_rest_times_what_the_rest_moved(sharpness, moved):
    exact = logits(sharpness)
    whole, top = WholeLogp(exact.double().log_softmax(-1)), reference_of(exact)
    assert isinstance(top, TopLogp)
    other = exact + moved * logits(1.0, seed=1)
    wanted, count = whole.divergence(other.double(), MASKED)
    found, same = top.divergence(other, MASKED)
    assert count == same == int(MASKED.sum())
    shift = other.double().log_softmax(-1) - whole.logp
    outside = torch.ones_like(shift, dtype=torch.bool).scatter(-1, top.ids.long(), False)
    spread = shift.masked_fill(~outside, -torch.inf).amax(-1) - shift.masked_fill(
        ~outside, torch.inf
    ).amin(-1)
    most_lost = float((top.rest.exp().double() * spread)[MASKED].sum())
    rounding = 2e-5 * count + 1e-4 * wanted  # logits of 50 in float32
    assert -rounding <= wanted - found <= most_lost + rounding
    if (
        sharpness == 12.0 and moved >= 0.1
    ):  # a model that is sure: nearly nothing is left to the others
        assert found == pytest.approx(wanted, rel=0.01) and top.ids.shape[-1] < 2048


def test_entropy_of_a_sure_model_is_that_of_the_whole():
    exact = logits(12.0)
    wanted, _ = WholeLogp(exact.log_softmax(-1)).entropy(MASKED)
    assert reference_of(exact).entropy(MASKED)[0] == pytest.approx(wanted, rel=0.02)


def test_memory_does_not_grow_with_the_vocabulary():
    top = reference_of(logits(1.0))
    size = sum(part.nbytes for part in (top.ids, top.logp, top.rest))
    assert size <= 8.1 * 2048 * MASKED.numel() < 4 * VOCAB * MASKED.numel()


def test_small_vocabularies_are_kept_whole(monkeypatch):
    assert isinstance(reference_of(logits(1.0)[..., :30_000]), WholeLogp)
    monkeypatch.setattr(reference_logp, "WHOLE_VOCABULARY", 10)
    monkeypatch.setattr(reference_logp, "MOST_KEPT", 64)
    exact = logits(1.0)[..., :64]
    top = reference_of(exact)
    assert (top.rest < -10).all(), "all of 64 tokens are kept, so nothing is left"
    wanted = WholeLogp(exact.log_softmax(-1)).divergence(logits(1.0, 2)[..., :64], MASKED)
    assert top.divergence(logits(1.0, 2)[..., :64], MASKED)[0] == pytest.approx(wanted[0], rel=1e-4)
