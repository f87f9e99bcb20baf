"""The contract of a commit policy, as tests to inherit.

class TestMine(CommitPolicyContract):
    def make(self):
        return MyPolicy()
"""

from __future__ import annotations

import numpy as np
from pydantic import TypeAdapter

from hwsearch.commit.policy import Candidates, CommitPolicy


class CommitPolicyContract:
    """What the sampler relies on. Inherit it, write `make`, and let pytest find the tests.

    Holds that a block always ends, that nothing but masks is written, that samples of a batch do not
    know of each other, and that a policy is data.
    """

    def make(self) -> CommitPolicy:
        """The policy."""
        raise NotImplementedError("return the policy to test")

    def test_every_pass_writes_a_mask_and_nothing_else(self) -> None:
        """Of each sample that has one; so a block of n masks takes at most n passes."""
        policy = self.make()
        for seed in range(50):
            candidates = random_candidates(seed)
            written = policy.commit(candidates)
            assert written.dtype == bool
            assert written.shape == candidates.masked.shape
            assert not (written & ~candidates.masked).any()
            assert (written.any(axis=1) == candidates.masked.any(axis=1)).all()

    def test_the_most_certain_mask_is_written(self) -> None:
        """Whatever else is: a policy that leaves it out waits for something less certain."""
        policy = self.make()
        for seed in range(50):
            candidates = random_candidates(seed)
            worth = np.where(candidates.masked, candidates.confidence, -1.0)
            rows = np.flatnonzero(candidates.masked.any(axis=1))
            written = policy.commit(candidates)
            assert written[rows, worth[rows].argmax(axis=1)].all()

    def test_samples_do_not_know_of_each_other(self) -> None:
        """A batch commits what its samples commit one by one."""
        policy = self.make()
        for seed in range(20):
            candidates = random_candidates(seed)
            together = policy.commit(candidates)
            for row in range(len(candidates.masked)):
                assert (policy.commit(one_of(candidates, row))[0] == together[row]).all()

    def test_certainty_ends_a_block_at_once(self) -> None:
        """Where the model is sure of all, and has been, all is written."""
        sure = np.ones((1, 5))
        candidates = Candidates(
            masked=sure > 0,
            confidence=sure,
            masked_share=np.ones(1),
            entropy=0.0 * sure,
            divergences=np.zeros((4, 1, 5)),
        )
        assert self.make().commit(candidates).all()

    def test_a_policy_is_data(self) -> None:
        """Written and read again it is equal, as a plan needs it; its name tells it apart."""
        policy = self.make()
        again = TypeAdapter(type(policy)).validate_json(policy.model_dump_json())
        assert again == policy
        assert hash(again) == hash(policy)
        assert policy.policy == type(policy).model_fields["policy"].default


def random_candidates(seed: int, batch: int = 3, block: int = 8) -> Candidates:
    """A pass over blocks that are partly written, some of them whole."""
    rng = np.random.default_rng(seed)
    masked = rng.random((batch, block)) < rng.random((batch, 1))
    confidence = rng.random((batch, block)) ** rng.choice([0.02, 0.2, 1.0])
    return Candidates(
        masked=masked,
        confidence=confidence,
        masked_share=masked.mean(axis=1),
        entropy=rng.exponential(1.0 - confidence),
        divergences=rng.exponential(0.01, (4, batch, block)),
    )


def one_of(candidates: Candidates, row: int) -> Candidates:
    """One sample of a batch."""
    here = slice(row, row + 1)
    assert candidates.entropy is not None and candidates.divergences is not None
    return Candidates(
        masked=candidates.masked[here],
        confidence=candidates.confidence[here],
        masked_share=candidates.masked_share[here],
        entropy=candidates.entropy[here],
        divergences=candidates.divergences[:, here],
    )
