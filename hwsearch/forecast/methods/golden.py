"""Golden: the map of low rank, corrected by what it missed in the most similar states of a coreset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwsearch.forecast.methods.coreset import Coreset, coreset_of
from hwsearch.forecast.methods.low_rank import ChangedLogits
from hwsearch.forecast.passes import BlockPasses, Floats
from hwsearch.forecast.settings import Golden
from hwsearch.forecast.situation import Situation, transitions

#: A neighbour's weight falls to 1 / e with each such share of the furthest one's squared distance.
WIDTH: Final = 1 / 3


class CorrectedLogits:
    """Adds to a map's forecast the kernel-weighted mean of what it missed in the nearest states.

    Idea: a map adds up what it sees; where that is wrong it is wrong alike in states that are alike.
    Steps: the map's few numbers say which states of the coreset are nearest; the mean of what it
    missed there, the nearer ones counting more, is added to them (Nadaraya and Watson, 1964; the
    subset as in GoldDiff, arXiv 2602.16498). Limits: a coreset knows only situations like its own.

    Args:
        map_: the map.
        coreset: its numbers in some states, and how much of the change it missed there, in the
            directions of the map, ``[coreset, rank]`` both.
        neighbours: states that a forecast averages.
    """

    memory = ChangedLogits.memory

    def __init__(self, map_: ChangedLogits, coreset: Coreset, neighbours: int) -> None:
        self._map, self._coreset, self._neighbours = map_, coreset, neighbours
        self._squares = (coreset.states**2).sum(axis=1)

    @classmethod
    def fit(
        cls, settings: Golden, blocks: Sequence[BlockPasses], embeddings: Floats, seed: int
    ) -> CorrectedLogits:
        """Fit the map, and choose a coreset of the states that it was fitted on.

        Raises:
            PlanError: the coreset is larger than the states, or the rank above what there is to see.
            InputError: the passes hold no hidden states.
        """
        map_ = ChangedLogits.fit(settings, blocks, embeddings)
        states, missed = [], []
        for situation, target in transitions(blocks, cls.memory):
            states.append(map_.numbers(situation))
            missed.append(map_.true_numbers(situation, target) - states[-1])
        found = coreset_of(settings, np.concatenate(states), np.concatenate(missed), seed)
        return cls(map_, found, settings.neighbours)

    def changes(self, situation: Situation) -> Floats:
        """See `hwsearch.forecast.methods.method.ForecastMethod.changes`."""
        numbers = self._map.numbers(situation)
        return self._map.changes_of(numbers + self.missed(numbers), situation)

    def missed(self, numbers: Floats) -> Floats:
        """What the map is likely to miss where it has such numbers, ``[masks, rank]``."""
        count = min(self._neighbours, len(self._squares))
        squared = self._squares - 2.0 * numbers @ self._coreset.states.T
        nearest = np.argpartition(squared, count - 1, axis=1)[:, :count]
        squared = np.take_along_axis(squared, nearest, axis=1) + (numbers**2).sum(axis=1)[:, None]
        squared = np.maximum(squared, 0.0)
        width = WIDTH * squared.max(axis=1, keepdims=True) + np.finfo(np.float32).tiny
        weights = np.exp(-squared / width) * self._coreset.shares[nearest]
        weights /= weights.sum(axis=1, keepdims=True)
        mean: Floats = np.einsum("nk,nkr->nr", weights, self._coreset.values[nearest])
        return mean

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The map and the coreset."""
        own = dict(zip(("states", "missed", "shares"), self._coreset, strict=True))
        return {**self._map.arrays(), **own}
