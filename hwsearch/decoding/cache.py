"""What the layers of a model have seen of their sinks, and how many cached positions they keep.

A position is a *sink* of one pass if it is among the layer's top share by attention mass. Its
variance is ``1 - (passes in which it was a sink) / passes``. Its *soft* sink score in a pass is a
sigmoid of how far its mass stands out. `hwsearch.decoding.rules` orders positions by these.

Plain numpy, so that torch and onnxruntime keep the same positions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Share of the positions that count as sinks of one pass. A share and not a number: with a fixed
#: k = 5 most positions are never sinks and the threshold has no effect.
TOP_SHARE = 0.5

#: A share so close to 1 that every position is kept, below 1 so that sinks are recorded all the same.
ALMOST_ALL = 1.0 - 1e-9

#: Of the soft sink score: standard deviations above the mean at which it is 1/2, and its steepness.
SOFT_K, SOFT_ALPHA = 2.0, 5.0

Floats = NDArray[np.float64]


def top_positions(mass: NDArray[np.float32], share: float = TOP_SHARE) -> NDArray[np.bool_]:
    """Whether each position is among the top `share` by mass; ``[..., length]`` in and out."""
    return top_count(mass, max(1, round(share * mass.shape[-1])))


def top_count(mass: NDArray[np.floating], count: int) -> NDArray[np.bool_]:
    """Whether each position is among the `count` heaviest; ties go to the earlier."""
    order = np.argsort(-mass, axis=-1, kind="stable")
    top = np.zeros(mass.shape, dtype=bool)
    np.put_along_axis(top, order[..., :count], True, axis=-1)
    return top


def soft_scores(
    mass: NDArray[np.floating], k: float = SOFT_K, alpha: float = SOFT_ALPHA
) -> NDArray[np.float64]:
    """Soft sink scores in 0..1 (arXiv 2602.17664, released code): ``[..., length]`` in and out.

    ``sigmoid(alpha (m - (mean + k std)))`` with mean and population deviation over positions.
    """
    mass = mass.astype(np.float64)
    edge = mass.mean(axis=-1, keepdims=True) + k * mass.std(axis=-1, keepdims=True)
    return 0.5 * (1.0 + np.tanh(0.5 * alpha * (mass - edge)))


def kept_count(share: float, outside: int) -> int:
    """Positions that a layer keeps of `outside` positions outside the block; at least one."""
    return max(1, math.ceil(share * outside - 1e-9))


@dataclass(frozen=True)
class SinkHistory:
    """What one layer has seen so far in a generation, for each sample and position.

    Attributes:
        hits: passes in which the position was a sink, ``[batch, length]``.
        mass: attention mass summed over the passes, ``[batch, length]``.
        soft: soft sink scores summed over the passes, ``[batch, length]``.
        soft_squared: their squares summed.
        passes: passes seen.
    """

    hits: Floats
    mass: Floats
    soft: Floats
    soft_squared: Floats
    passes: int = 0

    @classmethod
    def blank(cls, batch: int, length: int) -> SinkHistory:
        """Before the first pass."""
        zero = np.zeros((batch, length))
        return cls(zero, zero, zero, zero)

    def seen(self, mass: NDArray[np.float32]) -> SinkHistory:
        """The history after one more pass with attention mass ``[batch, length]``."""
        soft = soft_scores(mass)
        return SinkHistory(
            self.hits + top_positions(mass),
            self.mass + mass,
            self.soft + soft,
            self.soft_squared + soft**2,
            self.passes + 1,
        )

    def resized(self, length: int, tail: int = 1) -> SinkHistory:
        """The history of a sequence that shows more positions at its end, or fewer.

        The last `tail` positions stay the last: a window that moves on shows more masks before them.
        """
        old = self.hits.shape[1]
        if old == length:
            return self

        def fit(values: Floats) -> Floats:
            shared = min(old, length) - tail
            fitted = np.zeros((len(values), length))
            fitted[:, :shared], fitted[:, -tail:] = values[:, :shared], values[:, -tail:]
            return fitted

        return SinkHistory(
            fit(self.hits), fit(self.mass), fit(self.soft), fit(self.soft_squared), self.passes
        )

    def rows(self, chosen: NDArray[np.bool_]) -> SinkHistory:
        """The history of some of the samples; `chosen` is ``[batch]``."""
        return SinkHistory(
            self.hits[chosen],
            self.mass[chosen],
            self.soft[chosen],
            self.soft_squared[chosen],
            self.passes,
        )

    @property
    def transience(self) -> Floats:
        """How much a position's sinkness comes and goes, 0 to 1: four times its variance over passes."""
        passes = max(1, self.passes)
        variance = self.soft_squared / passes - (self.soft / passes) ** 2
        return np.clip(4.0 * variance, 0.0, 1.0)


def outside(batch: int, length: int, start: int, stop: int) -> NDArray[np.int64]:
    """All positions outside start..stop, ``[batch, length - (stop - start)]``: nothing is dropped."""
    kept = np.concatenate((np.arange(start), np.arange(stop, length)))
    return np.broadcast_to(kept, (batch, len(kept)))
