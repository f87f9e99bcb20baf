"""Factor: the more tokens at once, the surer each must be."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from hwsearch.commit.policy import Candidates, CommitPolicy, Mask, first_of, sorted_masks


class Factor(CommitPolicy):
    """Writes the largest n most certain masks with ``(n + 1) (1 - c_n) < factor``.

    Idea: the same bound as behind `Threshold`, solved for the number of tokens: n tokens may be
    written together where the least certain of them misses certainty by less than factor / (n + 1).
    Source: Fast-dLLM (arXiv 2505.22618), released code.

    Attributes:
        factor: higher writes more at once.
    """

    policy: Literal["factor"] = "factor"
    factor: Annotated[float, Field(gt=0.0)] = 1.0

    def chosen(self, candidates: Candidates) -> Mask:
        """As many of the most certain as the factor allows."""
        confidence = sorted_masks(candidates, candidates.confidence, -np.inf)
        count = np.arange(1, confidence.shape[1] + 1)
        holds = (count + 1) * (1.0 - confidence) < self.factor
        return first_of(candidates, np.where(holds, count, 0).max(axis=1))
