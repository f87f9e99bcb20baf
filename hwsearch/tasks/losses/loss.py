"""What a search asks of a loss."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from hwsearch.decoding.kept import KeptShares
from hwsearch.tasks.losses.by_state import StateLoss

if TYPE_CHECKING:
    from torch import Tensor

    from hwsearch.denoisers.network import Network


class Loss(Protocol):
    """A loss, smaller is better, that stands in for one minus accuracy.

    Whatever chance it needs is drawn once, when it is made: every plan is judged on the same
    masks and problems, so their noise cancels between plans (common random numbers).
    """

    @property
    def name(self) -> str:
        """As a user spells it."""

    @property
    def cost(self) -> float:
        """Work of one `loss`, in full passes over one sequence.

        A cached pass over a block counts as the block's share of the sequence.
        """

    def loss(self, network: Network, kept: KeptShares) -> float:
        """Loss of a compressed network whose layers keep these shares of cached positions."""


@runtime_checkable
class GradualLoss(Loss, Protocol):
    """A loss that can be watched while it is computed, and left before its end."""

    def by_state(self, network: Network, kept: KeptShares) -> Iterator[StateLoss]:
        """The loss, state by state; the first n states are the same n for every plan.

        Those that say most for their work come first, if that is known. Nothing is computed ahead.
        """


@dataclass(frozen=True, eq=False)
class JudgedLogits:
    """What one pass over a state predicts, and what its positions count.

    Attributes:
        logits: ``[batch, rows, vocab]``; gradients flow through them.
        weights: what the divergence at each position counts in the loss, ``[batch, rows]``; 0 where a
            position is not judged. Those of all passes and states add up to 1.
    """

    logits: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Judged:
    """What a loss judges, in short.

    Attributes:
        digest: the same for the same loss on the same tokens.
        states: how many states there are.
    """

    digest: str
    states: int

    @classmethod
    def of(cls, name: str, arrays: Sequence[NDArray[Any]], states: int) -> Judged:
        """Of a loss by name, and what all its states are made of."""
        digest = hashlib.sha256(name.encode())
        for array in arrays:
            digest.update(f"{array.dtype} {array.shape} ".encode() + array.tobytes())
        return cls(digest.hexdigest(), states)


@runtime_checkable
class DivergenceLoss(Loss, Protocol):
    """A loss that rises, near the uncompressed model, as the KL divergence from it does."""

    @property
    def judges(self) -> Judged:
        """What it judges."""

    def judged(
        self, network: Network, kept: KeptShares | None = None
    ) -> Iterator[list[JudgedLogits]]:
        """State by state the logits of its passes.

        Args:
            network: a (compressed) network.
            kept: what share of cached positions its layers keep; None drops none.
        """
