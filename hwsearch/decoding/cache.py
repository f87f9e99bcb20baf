"""Which cached positions a layer keeps between two refreshes: the rule `keep-stable`.

A position is a *sink* of one pass if it is among the layer's top share by attention mass. Its
variance is ``1 - (passes in which it was a sink) / passes``; the rule keeps the positions of
least variance. Calibration turns a layer's threshold into a kept share beforehand, and here a
layer keeps exactly that share, so that shapes and latency of a plan are known before it runs.

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


def top_positions(mass: NDArray[np.float32], share: float = TOP_SHARE) -> NDArray[np.bool_]:
    """Whether each position is among the top `share` by mass; ``[..., length]`` in and out."""
    count = max(1, round(share * mass.shape[-1]))
    rank = np.argsort(np.argsort(-mass, axis=-1, kind="stable"), axis=-1, kind="stable")
    return rank < count


def kept_count(share: float, outside: int) -> int:
    """Positions that a layer keeps of `outside` positions outside the block; at least one."""
    return max(1, math.ceil(share * outside - 1e-9))


@dataclass(frozen=True)
class SinkHistory:
    """What one layer has seen so far in a generation, for each sample and position.

    Attributes:
        hits: passes in which the position was a sink, ``[batch, length]``.
        mass: attention mass summed over the passes, ``[batch, length]``.
    """

    hits: NDArray[np.float64]
    mass: NDArray[np.float64]

    @classmethod
    def blank(cls, batch: int, length: int) -> SinkHistory:
        """Before the first pass."""
        return cls(np.zeros((batch, length)), np.zeros((batch, length)))

    def seen(self, mass: NDArray[np.float32]) -> SinkHistory:
        """The history after one more pass with attention mass ``[batch, length]``."""
        return SinkHistory(self.hits + top_positions(mass), self.mass + mass)


class StableSinks:
    """Running sink scores of one layer over one generation.

    Call `update` after every refresh and `keep` before the block's rows run alone.
    """

    def __init__(self, kept_share: float, history: SinkHistory | None = None) -> None:
        self.kept_share = kept_share
        self.history = history

    def update(self, mass: NDArray[np.float32]) -> None:
        """Count one pass with attention mass ``[batch, length]``."""
        self.history = (self.history or SinkHistory.blank(*mass.shape)).seen(mass)

    def keep(self, start: int, stop: int) -> NDArray[np.int64]:
        """Kept positions ``[batch, kept]`` outside start..stop, ascending.

        Ordered by how often a position was a sink, ties by its mass.
        """
        assert self.history is not None, "update comes first"
        hits, mass = self.history.hits, self.history.mass
        # mass / total < 1, so it orders only positions of equal count
        score = hits + mass / (mass.sum(axis=1, keepdims=True) + 1e-30)
        score[:, start:stop] = -1.0
        count = kept_count(self.kept_share, hits.shape[1] - (stop - start))
        best = np.argpartition(-score, count - 1, axis=1)[:, :count]
        return np.sort(best, axis=1)


def outside(batch: int, length: int, start: int, stop: int) -> NDArray[np.int64]:
    """All positions outside start..stop, ``[batch, length - (stop - start)]``: nothing is dropped."""
    kept = np.concatenate((np.arange(start), np.arange(stop, length)))
    return np.broadcast_to(kept, (batch, len(kept)))
