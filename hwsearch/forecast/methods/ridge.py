"""Ridge: the next logits as a combination of the last ones, by a few numbers a bin."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.forecast.methods.method import bin_of, centred
from hwsearch.forecast.passes import BlockPasses, Floats
from hwsearch.forecast.settings import Ridge
from hwsearch.forecast.situation import Memory, Situation, transitions


class CombinedLogits:
    """Combines the logits of the last passes.

    Args:
        weights: of the newest pass, the one before and so on, in the change, for each bin and each
            number of passes seen, ``[bins, passes, passes]``.
    """

    def __init__(self, weights: Floats) -> None:
        self._weights = weights
        self.memory = Memory(logits=weights.shape[1])

    @classmethod
    def fit(cls, settings: Ridge, blocks: Sequence[BlockPasses]) -> CombinedLogits:
        """Fit each bin and number of passes by itself.

        The regression is on the newest logits and on how they came to be from those before, so that
        what is penalised to nothing is reuse.
        """
        count = settings.passes
        gram = np.zeros((settings.bins, count, count, count))
        cross = np.zeros((settings.bins, count, count))
        for situation, target in transitions(blocks, Memory(logits=count)):
            seen = len(situation.logits)
            inputs, change = _regression(situation, target)
            bins = bin_of(situation.masked, settings.bins)[np.nonzero(situation.masked)[0]]
            for where in np.unique(bins):
                own = inputs[:, bins == where].reshape(seen, -1)
                gram[where, seen - 1, :seen, :seen] += own @ own.T
                cross[where, seen - 1, :seen] += own @ change[bins == where].ravel()
        weights = np.zeros((settings.bins, count, count), dtype=np.float32)
        for where, seen in np.ndindex(settings.bins, count):
            size = seen + 1
            found = _solved(
                gram[where, seen, :size, :size], cross[where, seen, :size], settings.penalty
            )
            weights[where, seen, :size] = _of_logits(found)
        return cls(weights)

    def changes(self, situation: Situation) -> Floats:
        """Weighted logits; see `hwsearch.forecast.methods.method.ForecastMethod.changes`."""
        seen = len(situation.logits)
        samples, positions = np.nonzero(situation.masked)
        bins = bin_of(situation.masked, len(self._weights))[samples]
        weights = self._weights[bins, seen - 1]
        change = np.zeros((len(samples), situation.logits[0].shape[-1]), dtype=np.float32)
        for age, logits in enumerate(situation.logits):
            change += weights[:, age, None] * logits[samples, positions]
        return change

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The weights."""
        return {"weights": self._weights}


def _regression(situation: Situation, target: Floats) -> tuple[NDArray[np.float64], ...]:
    """Inputs ``[passes, masks, vocab]`` and change ``[masks, vocab]`` at masks, both centred."""
    past = [centred(logits[situation.masked].astype(np.float64)) for logits in situation.logits]
    changed = [newer - older for newer, older in pairwise(past)]
    change = centred(target[situation.masked].astype(np.float64)) - past[0]
    return np.stack([past[0], *changed]), change


def _solved(
    gram: NDArray[np.float64], cross: NDArray[np.float64], penalty: float
) -> NDArray[np.float64]:
    """The regression's numbers, or 0 where there was nothing to fit them on."""
    size = np.trace(gram) / len(gram)
    if size == 0:
        return np.zeros(len(gram))
    # the smallest that keeps a system solvable whose inputs are one and the same
    least = np.finfo(np.float64).eps * len(gram)
    return np.linalg.solve(gram + max(penalty, least) * size * np.eye(len(gram)), cross)


def _of_logits(found: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of logits, from those of the newest logits and of the changes before."""
    weights = found.copy()
    weights[0] += found[1:2].sum()
    weights[1:] = np.append(found[2:], 0.0) - found[1:] if len(found) > 1 else weights[1:]
    return weights
