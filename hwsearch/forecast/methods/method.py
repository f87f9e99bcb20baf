"""What every method of forecasting is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hwsearch.forecast.passes import Floats, Mask
from hwsearch.forecast.situation import Memory, Situation


class ForecastMethod(Protocol):
    """A fitted method: it says how logits will change where masks are left."""

    @property
    def memory(self) -> Memory:
        """What it looks at of the passes before."""

    def changes(self, situation: Situation) -> Floats:
        """Next logits less the newest ones, at each mask that is left, ``[masks, vocab]``.

        Masks are in the order of ``np.nonzero(situation.masked)``.
        """

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """All that was fitted, by name, float32."""


def bin_of(masked: Mask, bins: int) -> NDArray[np.int64]:
    """Which of so many equal bins of masked share each sample is in, ``[batch]``; 0 has fewest masks.

    >>> bin_of(np.array([[True, False, False, False], [True, True, False, False]]), 4)
    array([0, 1])
    """
    share = masked.sum(axis=1) * bins
    return np.maximum(-(-share // masked.shape[1]) - 1, 0)


def changed_at_masks(situation: Situation, target: Floats) -> Floats:
    """By how much logits changed to ``target [batch, block, vocab]`` at masks, ``[masks, vocab]``."""
    change: Floats = target[situation.masked] - situation.logits[0][situation.masked]
    return change


def centred(logits: NDArray[Any]) -> NDArray[Any]:
    """Logits ``[..., vocab]`` with mean 0: a constant on all of them is nothing to a softmax."""
    found: NDArray[Any] = logits - logits.mean(axis=-1, keepdims=True)
    return found
