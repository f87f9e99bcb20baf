"""KL-stable: write what the model has stopped changing its mind about."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field

from hwsearch.commit.policy import Candidates, CommitPolicy, Mask, Share


class KLStable(CommitPolicy):
    """Writes every mask above `threshold` whose distribution has stood still for two passes.

    Idea: a confident guess that still moves is often wrong; one that two passes left alone is not.
    The divergence is KL(this pass ‖ the pass before), and both of the last two must be below
    `divergence`, so nothing but the most certain mask is written in the first two passes of a block.
    Source: KLASS (arXiv 2511.05664), released code.

    Attributes:
        threshold: probability asked for.
        divergence: nats that a pass may change the distribution by.
    """

    policy: Literal["kl-stable"] = "kl-stable"
    threshold: Share = 0.9
    divergence: Annotated[float, Field(gt=0.0)] = 0.01
    needs_divergences: ClassVar[int] = 2

    def chosen(self, candidates: Candidates) -> Mask:
        """Those above the threshold that stood still."""
        assert candidates.divergences is not None, "the policy looks at divergences"
        still = np.all(candidates.divergences < self.divergence, axis=0)
        chosen: Mask = still & (candidates.confidence > self.threshold)
        return chosen
