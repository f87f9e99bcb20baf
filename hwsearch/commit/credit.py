"""Credit: a token predicted again and again is believed sooner."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from hwsearch.commit.policy import Candidates, CommitPolicy, Credit, Mask, Share


class CreditThreshold(CommitPolicy):
    """A threshold on probabilities that a history of predictions has raised.

    Idea: where pass after pass predicts the same token, its probability lags behind its correctness.
    Each pass credits its most probable token; credits fade, and their logarithm is added to the
    logits (`hwsearch.commit.policy.Credit`). Limits: a token that was wrong early is credited too.
    Source: CreditDecoding (arXiv 2510.06133), code in dInfer.

    Attributes:
        threshold: probability above which a token is written.
        decay: what is left of the credit of the pass before.
        exponent: of the probability that the most probable token earns.
        weight: of the credit's logarithm in the logits.
    """

    policy: Literal["credit"] = "credit"
    threshold: Share = 0.9
    decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.8
    exponent: Annotated[float, Field(gt=0.0)] = 0.2
    weight: Annotated[float, Field(gt=0.0)] = 0.7

    @property
    def credited(self) -> Credit | None:
        """The policy's numbers, as backends need them."""
        return Credit(decay=self.decay, exponent=self.exponent, weight=self.weight)

    def chosen(self, candidates: Candidates) -> Mask:
        """Those above the threshold; credit is in the confidence already."""
        above: Mask = candidates.confidence > self.threshold
        return above
