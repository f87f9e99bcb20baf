"""What one layer's sinks add up to, pass by pass, in arrays that stay where they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.cache import soft_scores
from hwsearch.sinks import formulas
from hwsearch.sinks.formulas import Flags, Floats


class Series:
    """Arrays of one shape, pass by pass, in one block that doubles when it is full."""

    def __init__(self) -> None:
        self._block: NDArray[Any] | None = None
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def append(self, value: NDArray[Any]) -> None:
        """Add a pass's value; the first says what shape and type they have."""
        if self._block is None:
            self._block = np.empty((16, *value.shape), value.dtype)
        elif self._count == len(self._block):
            self._block = np.concatenate([self._block, np.empty_like(self._block)])
        self._block[self._count] = value
        self._count += 1

    def array(self) -> NDArray[Any]:
        """All values, ``[passes, ...]``; a view. There must be one."""
        assert self._block is not None, "nothing was appended"
        return self._block[: self._count]


class LayerAccumulator:
    """Running sums of one layer, whose mass is ``[batch, heads, length]``."""

    def __init__(self, shape: tuple[int, ...], keep: bool) -> None:
        self._keep = keep
        self.mass = np.zeros(shape)
        self.hits = np.zeros(shape, dtype=np.int32)
        self.layer_hits = np.zeros((shape[0], shape[2]), dtype=np.int32)
        self.soft = np.zeros((shape[0], shape[2]))
        self.centroids = Series()
        self.head_centroids = Series()
        self.sink_means = Series()
        self.concentration = Series()
        self.overlap = Series()
        self.by_pass = Series()
        self._before = np.zeros((shape[0], shape[2]), dtype=bool)

    def add(
        self,
        mass: NDArray[np.float32],
        valid: Flags | None,
        k: float,
        soft: tuple[float, float],
    ) -> Floats:
        """Count one pass; the mass summed over heads, ``[batch, length]``."""
        heads = formulas.sinks_of(mass, k, valid)
        summed = mass.sum(axis=1, dtype=np.float64)
        sinks = formulas.sinks_of(summed, k, valid)
        self.mass += mass
        self.hits += heads
        self.layer_hits += sinks
        self.soft += masked_soft(summed, valid, *soft)
        self.head_centroids.append(formulas.centroid(mass, heads))
        self.centroids.append(formulas.centroid(summed, sinks))
        self.sink_means.append(formulas.mean_position(heads))
        self.concentration.append((summed * sinks).sum(axis=1) / summed.sum(axis=1))
        if len(self.centroids) > 1:
            self.overlap.append((sinks & self._before).sum(axis=1) / sinks.sum(axis=1))
        self._before[...] = sinks
        if self._keep:
            self.by_pass.append(summed.astype(np.float32))
        return summed


def masked_soft(mass: Floats, valid: Flags | None, k: float, alpha: float) -> Floats:
    """Soft sink scores ``[batch, length]`` over the positions that are there; 0 elsewhere."""
    if valid is None:
        return soft_scores(mass, k, alpha)
    scores = np.zeros(mass.shape)
    for index, there in enumerate(valid):
        scores[index, there] = soft_scores(mass[index, there], k, alpha)
    return scores
