"""Entropy bound: as many tokens as their joint uncertainty allows."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from hwsearch.commit.policy import Candidates, CommitPolicy, Mask, first_of, sorted_masks


class EntropyBound(CommitPolicy):
    """Writes the largest n most certain masks with ``sum H - max H <= bound``.

    Idea: the joint distribution of n tokens differs from the product of theirs by at most the sum of
    their entropies less the largest, in nats. Source: EB-Sampler (arXiv 2505.24857), released code.

    Attributes:
        bound: nats; .001 to .1 were published.
    """

    policy: Literal["entropy-bound"] = "entropy-bound"
    bound: Annotated[float, Field(ge=0.0)] = 0.01
    needs_entropy: ClassVar[bool] = True

    def chosen(self, candidates: Candidates) -> Mask:
        """As many of the most certain as the bound allows."""
        assert candidates.entropy is not None, "the policy looks at entropies"
        entropy = sorted_masks(candidates, candidates.entropy, np.inf)
        with np.errstate(invalid="ignore"):  # behind the masks: infinity less infinity
            excess = np.cumsum(entropy, axis=1) - np.maximum.accumulate(entropy, axis=1)
            holds = np.isfinite(entropy) & (excess <= self.bound)
        count = np.arange(1, holds.shape[1] + 1)
        return first_of(candidates, np.where(holds, count, 0).max(axis=1))
