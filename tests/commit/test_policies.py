"""Each policy against cases computed by hand, and against the contract of all."""

import numpy as np
import pytest
from pydantic import ValidationError

from hwsearch.commit import POLICIES, Candidates
from hwsearch.commit.credit import CreditThreshold
from hwsearch.commit.decaying_threshold import DecayingThreshold
from hwsearch.commit.entropy_bound import EntropyBound
from hwsearch.commit.factor import Factor
from hwsearch.commit.hierarchy import Hierarchy
from hwsearch.commit.kl_stable import KLStable
from hwsearch.commit.threshold import Threshold
from hwsearch.plan import Decoding
from hwsearch.testing import CommitPolicyContract


@pytest.mark.parametrize("name", POLICIES)
class TestContract(CommitPolicyContract):
    @pytest.fixture(autouse=True)
    def _name(self, name):
        self.name = name

    def make(self):
        return POLICIES[self.name]()


def seen(confidence, masked=None, share=1.0, **more):
    confidence = np.array([confidence])
    masked = np.ones_like(confidence, dtype=bool) if masked is None else np.array([masked]) > 0
    return Candidates(masked, confidence, np.array([share]), **more)


def written(policy, candidates):
    return np.flatnonzero(policy.commit(candidates)[0]).tolist()


def test_threshold_writes_what_is_above_it_and_the_best_in_any_case():
    policy = Threshold(threshold=0.9)
    assert written(policy, seen([0.95, 0.9, 0.91, 0.2])) == [0, 2]
    assert written(policy, seen([0.3, 0.5, 0.5, 0.2])) == [1]
    assert written(policy, seen([0.99, 0.5, 0.95, 0.2], masked=[0, 1, 1, 1])) == [2]


def test_factor_lets_n_tokens_miss_certainty_by_less_than_its_share():
    # (n + 1)(1 - c_n) for the sorted .95 .9 .7 .6: 2 * .05 = .1, 3 * .1 = .3, 4 * .3 = 1.2, 5 * .4 = 2
    candidates = seen([0.7, 0.95, 0.6, 0.9])
    assert written(Factor(factor=0.05), candidates) == [1]
    assert written(Factor(factor=0.2), candidates) == [1]
    assert written(Factor(factor=0.31), candidates) == [1, 3]
    assert written(Factor(factor=1.0), candidates) == [1, 3]
    assert written(Factor(factor=1.3), candidates) == [0, 1, 3]
    assert written(Factor(factor=2.1), candidates) == [0, 1, 2, 3]


def test_a_threshold_decays_with_what_is_written():
    # .9 (1 - .5 (1 - r)): .9 at r = 1, .675 at r = .5, .45 at r = 0
    policy = DecayingThreshold(threshold=0.9, decay=0.5)
    confidence = [0.91, 0.7, 0.6, 0.46]
    assert written(policy, seen(confidence, share=1.0)) == [0]
    assert written(policy, seen(confidence, share=0.5)) == [0, 1]
    assert written(policy, seen(confidence, share=0.0)) == [0, 1, 2, 3]


def test_entropies_add_up_to_the_bound_without_the_largest():
    # sorted by confidence: H = .01 .02 .5 .6; sum less max: 0, .01, .03, .53
    entropy = np.array([[0.5, 0.01, 0.6, 0.02]])
    candidates = seen([0.7, 0.95, 0.6, 0.9], entropy=entropy)
    assert written(EntropyBound(bound=0.0), candidates) == [1]
    assert written(EntropyBound(bound=0.011), candidates) == [1, 3]
    assert written(EntropyBound(bound=0.031), candidates) == [0, 1, 3]
    assert written(EntropyBound(bound=0.6), candidates) == [0, 1, 2, 3]
    whole = seen([0.7, 0.95], masked=[0, 0], entropy=np.zeros((1, 2)))
    assert written(EntropyBound(bound=9.0), whole) == []


def test_what_still_moves_is_not_written():
    policy = KLStable(threshold=0.6, divergence=0.01)
    moved = np.array([[[0.001, 0.001, 0.02, 0.001]], [[0.009, 0.02, 0.001, 0.009]]])
    assert written(policy, seen([0.7, 0.8, 0.9, 0.5], divergences=moved)) == [0, 2]
    first = np.full((2, 1, 4), np.inf)
    assert written(policy, seen([0.7, 0.8, 0.9, 0.95], divergences=first)) == [3]


def test_the_best_of_each_run_is_written_above_the_low_threshold():
    policy = Hierarchy(threshold=0.9, low=0.4)
    # runs of masks: 0-1, 3, 5-7
    masked = [1, 1, 0, 1, 0, 1, 1, 1]
    confidence = [0.5, 0.45, 0.99, 0.3, 0.99, 0.2, 0.6, 0.95]
    assert written(policy, seen(confidence, masked)) == [0, 7]
    assert written(policy, seen([0.1] * 8, masked)) == [0]


def test_credit_thresholds_what_backends_credited():
    policy = CreditThreshold(threshold=0.8, decay=0.5, exponent=0.3, weight=0.9)
    assert (policy.credited.decay, policy.credited.exponent, policy.credited.weight) == (
        0.5,
        0.3,
        0.9,
    )
    assert written(policy, seen([0.85, 0.7])) == [0]


@pytest.mark.parametrize(
    ("commit", "said"),
    [
        ({"policy": "threshold", "threshold": 0.0}, "threshold.*greater than 0"),
        ({"policy": "threshold", "threshold": 1.5}, "threshold.*less than or equal to 1"),
        ({"policy": "hierarchy", "low": -1}, "low.*greater than 0"),
        ({"policy": "entropy-bound", "bound": -0.1}, "bound.*greater than or equal to 0"),
        ({"policy": "factor", "factor": 0}, "factor.*greater than 0"),
        ({"policy": "credit", "decay": 1.0}, "decay.*less than 1"),
        ({"policy": "thresh"}, "thresh"),
        ({"policy": "threshold", "tau": 0.9}, "tau"),
    ],
)
def test_numbers_out_of_range_are_refused(commit, said):
    with pytest.raises(ValidationError, match=f"(?s){said}"):
        Decoding.model_validate(
            {"gen_length": 8, "block_length": 4, "refresh_interval": 4, "commit": commit}
        )
