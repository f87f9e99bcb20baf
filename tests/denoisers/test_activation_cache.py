"""Remembered layer outputs change no loss, and only layers from the first change on run again."""

import pytest
import torch

from hwsearch.compression import WeightBank, compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.activation_cache import ActivationCache
from hwsearch.plan import CompressionPlan
from hwsearch.tasks.losses.kl import FrozenStates
from hwsearch.testing.tiny import tiny_denoiser

LAYERS = 4
QUESTIONS = ["tom has 3 apples ?", "tom has 4 apples and buys 2 more ?", "how many now ?"]


@pytest.fixture(scope="module")
def denoiser():
    return tiny_denoiser(layers=LAYERS)


def plan_with(changes):
    layer = {"sink_threshold": 1.0, "attention": "fp32", "mlp": "fp32"}
    return CompressionPlan.validate(
        {"layers": [layer | changes.get(index, {}) for index in range(LAYERS)]}
    )


PLANS = [
    (plan_with({}), [1.0] * 4),
    (plan_with({3: {"mlp": "w4"}}), [1.0] * 4),
    (plan_with({1: {"attention": "w8"}, 3: {"mlp": "w4"}}), [1.0] * 4),
    (plan_with({1: {"attention": "w8"}, 3: {"mlp": "w4"}}), [1.0, 1.0, 0.5, 1.0]),
    (plan_with({1: {"attention": "w8"}, 3: {"mlp": "w4"}}), [1.0, 1.0, 0.4, 1.0]),
    (plan_with({0: {"mlp": "w8a8"}}), [0.5, 1.0, 1.0, 1.0]),
    (plan_with({}), [1.0] * 4),
]


@pytest.mark.parametrize("activation_bytes", [0, 30_000, 1 << 30])
def test_losses_are_those_of_a_fresh_start(denoiser, activation_bytes):
    bank = WeightBank(denoiser)
    states = FrozenStates.record(denoiser, QUESTIONS)
    remembering = FrozenStates(
        states.states, states.mask_token_id, states.refresh_share, activation_bytes=activation_bytes
    )
    for plan, shares in PLANS:
        network, kept = compress(denoiser, plan, bank).network, KeptShares(tuple(shares))
        fresh = FrozenStates(states.states, states.mask_token_id, states.refresh_share, 0)
        assert remembering.loss(network, kept) == fresh.loss(network, kept)
        assert remembering.activations.size_bytes <= activation_bytes


def test_only_layers_from_the_first_change_on_run(denoiser):
    bank, states = WeightBank(denoiser), FrozenStates.record(denoiser, QUESTIONS)
    passes = 2 * len(states.states)
    runs = []
    for plan, shares in PLANS:
        before = states.activations.misses
        states.loss(compress(denoiser, plan, bank).network, KeptShares(tuple(shares)))
        runs.append((states.activations.misses - before) / passes)
    # a new share of a layer whose mass is recorded already leaves its refresh pass as it was
    assert runs == [4, 1, 3, 2, 1, 4, 0]


def test_the_least_recently_used_output_goes_first():
    activations, made = ActivationCache(limit_bytes=20), []

    def output(name):
        def compute():
            made.append(name)
            return torch.zeros(8, dtype=torch.int8), (), None

        return compute

    for name in ("a", "b", "a", "c", "a", "b"):
        activations.fetch(name, output(name))
    assert made == ["a", "b", "c", "b"]
    assert activations.size_bytes == 16
