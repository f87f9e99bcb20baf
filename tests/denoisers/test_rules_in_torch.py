import numpy as np
import pytest

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.activation_cache import ActivationCache
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.plan import CachePolicy, CacheRule
from hwsearch.testing.tiny import tiny_denoiser

TOKENS = np.array([[10, 11, 12, 13, 14, 15, *[0] * 8]])


def logits(rule, known=None):
    """Logits of a step after a refresh, by a rule; on frozen inputs where a cache is given."""
    denoiser = tiny_denoiser()
    kept = KeptShares((0.3, 0.3), CachePolicy(rule=rule))
    backend = TorchBackend(
        known.network if known else denoiser.network,
        kept,
        known and known.activations,
    )
    backend.begin(frozen="state" if known else None)
    backend.refresh_logits(TOKENS, 6, 10)
    return backend.step_logits(TOKENS, 6, 10)


class Remembered:
    """One network and one cache for all rules."""

    def __init__(self):
        self.network, self.activations = tiny_denoiser().network, ActivationCache(1 << 26)


@pytest.fixture(scope="module")
def remembered():
    return Remembered()


@pytest.mark.parametrize("rule", CacheRule)
def test_a_rule_does_not_find_what_another_left_behind(rule, remembered):
    assert (logits(rule, remembered) - logits(rule)).abs().max() <= 1e-5
