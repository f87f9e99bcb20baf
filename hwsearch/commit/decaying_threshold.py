"""Decaying threshold: ask for less certainty as the text fills up."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hwsearch.commit.policy import Candidates, CommitPolicy, Mask, Share


class DecayingThreshold(CommitPolicy):
    """Writes every mask above ``threshold (1 - decay (1 - r))``, r being the share still masked.

    Idea: early commits steer all that follows and must be sure; late ones have their context. r is
    counted over the block and the window of masks after it. Source: Streaming-dLLM (arXiv 2601.17917),
    released code.

    Attributes:
        threshold: probability asked for while everything is masked.
        decay: by what share less is asked for at the end; .4 to .6 were published.
    """

    policy: Literal["decaying-threshold"] = "decaying-threshold"
    threshold: Share = 0.9
    decay: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5

    def chosen(self, candidates: Candidates) -> Mask:
        """Those above what is asked for by now."""
        asked = self.threshold * (1.0 - self.decay * (1.0 - candidates.masked_share))
        above: Mask = candidates.confidence > asked[:, None]
        return above
