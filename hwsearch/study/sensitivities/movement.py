"""How far errors move what is judged: the square of it, halved, is the divergence they cost."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from hwsearch.study.sensitivities.capture import LinearCall


class Movement:
    """What an error's movements of each direction add up to within a state; see `estimates`."""

    def __init__(self) -> None:
        self._sum: Tensor | None = None

    def add(self, call: LinearCall, error: Tensor) -> None:
        """Count the error of one call.

        Args:
            call: with what flowed back to its output; without any, nothing that is judged depends on it.
            error: of its output, ``[batch, rows, out]``.
        """
        if not call.gradients:
            return
        parts = torch.stack([gradient * error for gradient in call.gradients]).double()
        # without an axis of samples they are one: their signs are independent, too
        moved = parts.flatten(2).sum(-1) if error.dim() > 2 else parts.sum((1, 2))[:, None]
        self._sum = moved if self._sum is None else _added(self._sum, moved)

    def losses(self) -> Iterator[float]:
        """Half the squared movement, in the mean over directions; nothing where nothing was moved."""
        if self._sum is not None:
            yield 0.5 * float((self._sum**2).mean(dim=0).sum())


def expected_loss(states: Iterable[Movement]) -> float:
    """The loss of movements, one a state, which are independent of each other."""
    return sum(loss for state in states for loss in state.losses())


def _added(left: Tensor, right: Tensor) -> Tensor:
    if left.shape == right.shape:
        return left + right
    return left.sum(dim=1, keepdim=True) + right.sum(dim=1, keepdim=True)
