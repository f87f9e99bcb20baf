"""Threshold: write all that the model is sure enough of."""

from __future__ import annotations

from typing import Literal

from hwsearch.commit.policy import Candidates, CommitPolicy, Mask, Share


class Threshold(CommitPolicy):
    """Writes every mask whose token has a probability above `threshold`.

    Idea: where each of several tokens is nearly certain, their joint probability is nearly the
    product, so writing them at once loses little. Limits: nothing is promised for a low threshold.
    Source: Fast-dLLM (arXiv 2505.22618), Theorem 1 and released code.

    Attributes:
        threshold: probability above which a token is written.
    """

    policy: Literal["threshold"] = "threshold"
    threshold: Share = 0.9

    def chosen(self, candidates: Candidates) -> Mask:
        """Those above the threshold."""
        above: Mask = candidates.confidence > self.threshold
        return above
