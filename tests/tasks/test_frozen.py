import pytest

from hwsearch.compression import WeightBank, compress
from hwsearch.plan import CompressionPlan
from hwsearch.tasks.frozen import FrozenStates
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
    return states.loss(network, shares)


def test_the_uncompressed_model_loses_nothing(denoiser, states):
    assert loss(denoiser, states) == pytest.approx(0.0, abs=1e-6)


def test_coarser_formats_and_fewer_positions_lose_more(denoiser, states):
    eight, four = loss(denoiser, states, "w8", "w8"), loss(denoiser, states, "w4", "w4")
    assert 0 < eight < four
    some = loss(denoiser, states, shares=(0.7, 0.7))
    few = loss(denoiser, states, shares=(0.2, 0.2))
    assert 0 < some < few


def test_states_are_one_per_batch_and_refresh_and_the_same_each_time(denoiser, states):
    # two prompt lengths; two blocks of four passes, refreshed every second
    assert len(states.states) == 2 * 2 * 2
    again = FrozenStates.record(denoiser, QUESTIONS)
    for first, second in zip(states.states, again.states, strict=True):
        assert (first.at_refresh == second.at_refresh).all()
        assert (first.at_step == second.at_step).all()


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
