"""Which masks each pass writes: by a schedule, or by a policy that looks at certainty."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwsearch.commit.policy import Candidates, CommitPolicy
from hwsearch.decoding.backend import Prediction
from hwsearch.decoding.committing.schedule import quotas_of, shares_of
from hwsearch.plan import CommitRule, Decoding

Mask = NDArray[np.bool_]

#: Counts masks only where a policy decides: schedules have no use for them in their many passes.
MaskedShare = Callable[[], NDArray[np.float64]]


class Committer(Protocol):
    """Decides over one block at a time; call `begin` at each."""

    def begin(self) -> None:
        """A new block begins."""

    def is_done(self, index: int, masked: Mask) -> bool:
        """Whether the block takes no further pass, after `index` of them."""

    def chosen(self, masked: Mask, found: Prediction, masked_share: MaskedShare) -> Mask:
        """The masks ``[batch, block]`` that this pass writes.

        Args:
            masked: which rows of the block hold a mask.
            found: what the pass predicted.
            masked_share: tells the masks left among the block and the window after it, ``[batch]``.
        """


def committer_of(decoding: Decoding, rng: np.random.Generator) -> Committer:
    """What decides in a decoding; `rng` draws lots where a rule asks for it."""
    if decoding.commit is None:
        return ScheduleCommitter(decoding, rng)
    return PolicyCommitter(decoding.commit)


class ScheduleCommitter:
    """LLaDA's and Dream's rules: so many tokens in the first pass over a block, so many in the next."""

    def __init__(self, decoding: Decoding, rng: np.random.Generator) -> None:
        self._rule, self._rng = decoding.rule, rng
        self._quotas, self._shares = quotas_of(decoding), shares_of(decoding)
        self._index = 0

    def begin(self) -> None:
        """A new block begins."""
        self._index = 0

    def is_done(self, index: int, masked: Mask) -> bool:
        """After the schedule's passes, whatever they wrote."""
        return index >= len(self._quotas)

    def chosen(self, masked: Mask, found: Prediction, masked_share: MaskedShare) -> Mask:
        """As many of the best as the schedule says, or each by lot."""
        quota, share = self._quotas[self._index], self._shares[self._index]
        self._index += 1
        if self._rule is CommitRule.ORIGIN:
            return masked & (self._rng.random(masked.shape) < share)
        is_random = self._rule is CommitRule.RANDOM
        worth = self._rng.random(masked.shape) if is_random else found.confidence
        best = np.argsort(-np.where(masked, worth, -np.inf), axis=1, kind="stable")[:, :quota]
        chosen = np.zeros_like(masked)
        np.put_along_axis(chosen, best, True, axis=1)
        return masked & chosen


class PolicyCommitter:
    """A commit policy, and the divergences of the last passes that it looks at."""

    def __init__(self, policy: CommitPolicy) -> None:
        self._policy = policy
        self._divergences: list[NDArray[np.float64]] = []

    def begin(self) -> None:
        """A new block begins: no pass has been over it."""
        self._divergences = []

    def is_done(self, index: int, masked: Mask) -> bool:
        """Once no mask is left."""
        return not masked.any()

    def chosen(self, masked: Mask, found: Prediction, masked_share: MaskedShare) -> Mask:
        """What the policy commits."""
        return self._policy.commit(
            Candidates(
                masked=masked,
                confidence=found.confidence.astype(np.float64),
                masked_share=masked_share(),
                entropy=None if found.entropy is None else found.entropy.astype(np.float64),
                divergences=self._seen(found),
            )
        )

    def _seen(self, found: Prediction) -> NDArray[np.float64] | None:
        """Divergences of the last passes, newest first, infinite where there were fewer."""
        wanted = self._policy.needs_divergences
        if not wanted:
            return None
        assert found.divergence is not None, "the policy looks at divergences"
        self._divergences = [found.divergence.astype(np.float64), *self._divergences][:wanted]
        missing = [np.full(found.divergence.shape, np.inf)] * (wanted - len(self._divergences))
        return np.stack([*self._divergences, *missing])
