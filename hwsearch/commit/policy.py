"""What every commit policy is, and what it sees of a pass."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hwsearch.schema import Frozen

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

#: A share that must not be 0: of probability, or of anything else.
Share = Annotated[float, Field(gt=0.0, le=1.0)]


@dataclass(frozen=True, eq=False)
class Candidates:
    """What a pass predicted for the rows of one block.

    Attributes:
        masked: which rows still hold a mask, ``[batch, block]``.
        confidence: probability of the predicted token, ``[batch, block]``.
        masked_share: masks left among the positions of the block and of the window after it,
            ``[batch]``.
        entropy: of the predicted distribution in nats, ``[batch, block]``; None where the policy did
            not ask for it.
        divergences: KL(this pass ‖ the one before) in nats for the last passes over the block, newest
            first, ``[passes, batch, block]``; infinite where there was no pass before.
    """

    masked: Mask
    confidence: Floats
    masked_share: Floats
    entropy: Floats | None = None
    divergences: Floats | None = None


class Credit(Frozen):
    """Credit that a token earns by being predicted pass after pass; a backend adds it to its logits.

    ``C <- decay C; C[argmax] += p ** exponent; logits + weight log(1 + C)``

    Attributes:
        decay: what is left of the credit of the pass before.
        exponent: of the probability that the most probable token earns.
        weight: of the credit's logarithm in the logits.
    """

    decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.8
    exponent: Annotated[float, Field(gt=0.0)] = 0.2
    weight: Annotated[float, Field(gt=0.0)] = 0.7


class CommitPolicy(Frozen):
    """Chooses the masks that a pass writes; a subclass is one policy with its numbers.

    A subclass names itself in a field ``policy`` of one literal and implements `chosen`. What it
    needs beside tokens and confidences it says by class attributes, and backends hand it out.

    Attributes:
        needs_entropy: whether `Candidates.entropy` is looked at.
        needs_divergences: how many passes of `Candidates.divergences` are looked at.
    """

    policy: str
    needs_entropy: ClassVar[bool] = False
    needs_divergences: ClassVar[int] = 0

    @property
    def words(self) -> str:
        """Its name and its numbers."""
        numbers = [value for name, value in self if name != "policy"]
        return " ".join([self.policy, *(f"{value:g}" for value in numbers)])

    @property
    def credited(self) -> Credit | None:
        """The credit that backends add to their logits; None for none."""
        return None

    def commit(self, candidates: Candidates) -> Mask:
        """The masks ``[batch, block]`` to write: those chosen, and the most certain one in any case.

        So each pass writes at least one mask of each row that has any, and a block ends.
        """
        return candidates.masked & (self.chosen(candidates) | most_certain(candidates))

    def chosen(self, candidates: Candidates) -> Mask:
        """Which rows the policy is sure of, ``[batch, block]``; rows without a mask do not count."""
        raise NotImplementedError


def most_certain(candidates: Candidates) -> Mask:
    """The mask of highest confidence in each row of a batch, the first of equals; ``[batch, block]``."""
    best = np.where(candidates.masked, candidates.confidence, -np.inf).argmax(axis=1)
    return candidates.masked & (np.arange(candidates.masked.shape[1]) == best[:, None])


def by_confidence(candidates: Candidates) -> NDArray[np.int64]:
    """Positions of a block from the most certain mask to the least, ``[batch, block]``; masks first."""
    worth = np.where(candidates.masked, candidates.confidence, -np.inf)
    return np.argsort(-worth, axis=1, kind="stable")


def first_of(candidates: Candidates, counts: NDArray[np.int64]) -> Mask:
    """So many of the most certain masks in each row of a batch; `counts` is ``[batch]``."""
    order = by_confidence(candidates)
    places = np.arange(order.shape[1]) < counts[:, None]
    chosen = np.zeros_like(candidates.masked)
    np.put_along_axis(chosen, order, places, axis=1)
    return chosen & candidates.masked


def sorted_masks(candidates: Candidates, values: Floats, fill: float) -> Floats:
    """Values of the masks, the most certain first, and `fill` behind them; ``[batch, block]``."""
    order = by_confidence(candidates)
    filled = np.where(candidates.masked, values, fill)
    return np.take_along_axis(filled, order, axis=1)
