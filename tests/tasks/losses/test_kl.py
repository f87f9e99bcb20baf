import itertools

import pytest
import torch
import torch.nn.functional as F

from hwsearch.compression import WeightBank, compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.plan import CompressionPlan
from hwsearch.tasks.losses import reference_logp
from hwsearch.tasks.losses.frozen_states import deal
from hwsearch.tasks.losses.kl import FrozenStates
from hwsearch.tasks.losses.reference_logp import TopLogp, WholeLogp
from hwsearch.testing.tiny import tiny_denoiser

QUESTIONS = ["tom has 3 apples ?", "tom has 4 apples ?", "tom has 4 apples and buys 5 more ?"]


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser()


@pytest.fixture(scope="module")
def states(denoiser):
    return FrozenStates.record(denoiser, QUESTIONS)


def loss(denoiser, states, *plan, shares=(1.0, 1.0)):
    network = compress(denoiser, CompressionPlan.uniform(2, *plan), WeightBank(denoiser)).network
    return states.loss(network, KeptShares(shares))


def test_the_uncompressed_model_loses_nothing(denoiser, states):
    assert loss(denoiser, states) == pytest.approx(0.0, abs=1e-6)


def test_a_large_vocabulary_needs_nothing_of_refreshes_that_are_not_judged(
    denoiser, monkeypatch, tmp_path
):
    """One question of its length is decoded alone, and most of its refreshes are nobody's."""
    monkeypatch.setattr(reference_logp, "WHOLE_VOCABULARY", 10)
    monkeypatch.setattr(reference_logp, "MOST_KEPT", denoiser.geometry.vocab_size)
    kept_in_part = FrozenStates.record(denoiser, QUESTIONS, batch=1, seed=1)
    assert denoiser.decoding.refreshes > 1
    assert {type(state.refresh_logp) for state in kept_in_part.states} == {TopLogp}
    monkeypatch.undo()
    monkeypatch.setenv("HWSEARCH_CACHE", str(tmp_path))  # else what was recorded is found again
    whole = FrozenStates.record(denoiser, QUESTIONS, batch=1, seed=1)
    assert {type(state.refresh_logp) for state in whole.states} == {WholeLogp}
    wanted = loss(denoiser, whole, "w4", "w4")
    assert loss(denoiser, kept_in_part, "w4", "w4") == pytest.approx(wanted, rel=1e-3)


def test_coarser_formats_and_fewer_positions_lose_more(denoiser, states):
    eight, four = loss(denoiser, states, "w8", "w8"), loss(denoiser, states, "w4", "w4")
    assert 0 < eight < four
    some = loss(denoiser, states, shares=(0.7, 0.7))
    few = loss(denoiser, states, shares=(0.2, 0.2))
    assert 0 < some < few


def test_the_loss_state_by_state_ends_at_the_whole_to_the_bit(denoiser, states):
    network = compress(
        denoiser, CompressionPlan.uniform(2, "w4", "w8"), WeightBank(denoiser)
    ).network
    whole, shares = (
        FrozenStates.record(denoiser, QUESTIONS, per_question=99),
        KeptShares((0.6, 1.0)),
    )
    parts = list(whole.by_state(network, shares))
    assert (
        parts[-1].so_far == whole.loss(network, shares) == summed_in_order(whole, network, shares)
    )
    assert len(parts) == len(whole.states)
    assert sum(part.weight for part in parts) == pytest.approx(1.0)
    assert sum(part.weight * part.loss for part in parts) == pytest.approx(parts[-1].so_far)
    assert sum(part.work for part in parts) == pytest.approx(whole.cost)
    first = itertools.islice(whole.by_state(network, shares), 3)
    assert list(first) == parts[:3], "the first states are the same each time"


def summed_in_order(whole, network, shares):
    """The loss as it was before it could be watched: two running means over states as recorded."""
    totals, counts = [0.0, 0.0], [0, 0]
    backend = backend_of(network, shares)
    for state in whole.states:
        backend.begin(state.history)
        span = (state.start, state.stop)
        passes = [
            (state.at_refresh, state.refresh_logp, backend.refresh_logits),
            (state.at_step, state.step_logp, backend.step_logits),
        ]
        for index, (tokens, reference, run) in enumerate(passes):
            found = run(tokens, *span).log_softmax(-1)
            divergence = F.kl_div(found, reference.logp, reduction="none", log_target=True).sum(-1)
            masked = torch.from_numpy(tokens[:, slice(*span)] == whole.mask_token_id)
            totals[index] += float(divergence[masked].sum())
            counts[index] += int(masked.sum())
    refresh, step = (total / count for total, count in zip(totals, counts, strict=True))
    return whole.refresh_share * refresh + (1 - whole.refresh_share) * step


def test_states_the_model_is_unsure_of_come_first(denoiser, states):
    network = compress(
        denoiser, CompressionPlan.uniform(2, "w4", "w4"), WeightBank(denoiser)
    ).network
    every = FrozenStates.record(denoiser, QUESTIONS, per_question=99)
    parts = list(every.by_state(network, KeptShares.keeping_all(2)))
    gain = [part.loss * part.weight / part.work for part in parts]
    assert sorted(every.order) == list(range(len(every.states)))
    half = len(gain) // 2
    assert sum(gain[:half]) > sum(gain[half:])


def test_each_question_is_judged_at_one_refresh_and_the_same_each_time(denoiser, states):
    assert sum(len(state.at_refresh) for state in states.states) == len(QUESTIONS)
    again = FrozenStates.record(denoiser, QUESTIONS)
    for first, second in zip(states.states, again.states, strict=True):
        assert (first.at_refresh == second.at_refresh).all()
        assert (first.at_step == second.at_step).all()


def test_all_refreshes_of_a_question_may_be_judged(denoiser, states):
    # two prompt lengths; two blocks of four passes, refreshed every second
    every = FrozenStates.record(denoiser, QUESTIONS, per_question=99)
    assert len(every.states) == 2 * 2 * 2
    assert every.cost == pytest.approx(4 * states.cost)


def test_refreshes_are_dealt_evenly():
    judged = deal(6, 33, 2)
    assert (judged.sum(axis=1) == 2).all()
    assert (judged.sum(axis=0) == 11).all()
    assert (deal(6, 33, 2) == judged).all()
    assert (deal(6, 33, 2, seed=1) != judged).any()


def test_the_rows_of_a_state_carry_their_own_history(denoiser):
    every = FrozenStates.record(denoiser, QUESTIONS[:2], per_question=99)
    some = FrozenStates.record(denoiser, QUESTIONS[:2], per_question=3)
    assert 0 < sum(len(state.at_refresh) for state in some.states) < 8
    for state in some.states:
        whole = next(s for s in every.states if len(s.at_refresh) == 2 and holds(s, state))
        rows = [index for row in state.at_refresh for index in matching(whole.at_refresh, row)]
        for layer, history in state.history.items():
            assert (history.mass == whole.history[layer].mass[rows]).all()


def matching(rows, row):
    return [index for index, other in enumerate(rows) if (other == row).all()]


def holds(whole, part):
    return (whole.start, whole.at_refresh.shape[1]) == (
        part.start,
        part.at_refresh.shape[1],
    ) and all(matching(whole.at_refresh, row) for row in part.at_refresh)


def test_a_step_has_fewer_masks_than_its_refresh(denoiser, states):
    for state in states.states:
        block = slice(state.start, state.stop)
        before = (state.at_refresh[:, block] == denoiser.mask_token_id).sum()
        assert (state.at_step[:, block] == denoiser.mask_token_id).sum() < before


def test_without_a_cache_only_refreshes_are_judged():
    denoiser = tiny_denoiser()
    uncached = denoiser.decoding.model_copy(update={"refresh_interval": 1})
    object.__setattr__(denoiser, "decoding", uncached)
    states = FrozenStates.record(denoiser, QUESTIONS)
    assert states.states
    assert all(state.at_step is None for state in states.states)
    assert states.refresh_share == 1.0
    assert loss(denoiser, states, "w4", "w4") > 0
