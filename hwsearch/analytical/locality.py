"""Local weights: a posterior for each pixel, which looks at the pixels that matter to it alone.

One posterior for a whole image soon has a single point left, since no two images agree everywhere.
Trained networks look at neighbourhoods. Lukoianov et al. 2025 (arXiv 2509.09672, "PCA") find each pixel's
neighbourhood from the data's covariance: the pixels that the Wiener denoiser reads to guess it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsearch.analytical.estimator import Floats, checked_alpha_bar, checked_noisy
from hwsearch.analytical.points import PointSet
from hwsearch.analytical.wiener import WienerEstimator
from hwsearch.errors import InputError

#: Rows of a block: logits are as large as the rows here.
LOCAL_BLOCK = 2048


@dataclass(frozen=True, eq=False)
class Locality:
    """Which numbers of a noisy point count for which number of the clean one.

    Attributes:
        wiener: of the data.
        threshold: a number counts if the Wiener denoiser gives it at least this share of the largest
            weight, each number's weights over its own; the authors of GoldDiff take 0.03 for CIFAR-10.
    """

    wiener: WienerEstimator
    threshold: float = 0.03

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise InputError(
                f"a locality's threshold is a share, from 0 to 1; got {self.threshold:g}"
            )

    def mask(self, alpha_bar: float) -> NDArray[np.bool_]:
        """``[size, size]``: whether number `n` counts for number `m`."""
        matrix, _ = self.wiener.affine(alpha_bar)
        own = np.diagonal(matrix).copy()
        own[np.abs(own) < 1e-12] = 1.0  # a number that never changes
        weights = np.abs(matrix / own[:, None])
        return np.asarray(weights >= self.threshold * weights.max())


class PixelwiseSoftmax:
    """A streaming softmax of its own for each number of one noisy point."""

    def __init__(self, size: int) -> None:
        self._top = np.full(size, -np.inf)
        self._total = np.zeros(size)
        self._sums = np.zeros(size)

    def add(self, logits: Floats, rows: Floats) -> None:
        """Take in a block of logits ``[rows, size]`` and rows ``[rows, size]``."""
        top = np.maximum(self._top, logits.max(axis=0))
        shrunk = np.where(np.isfinite(self._top), np.exp(self._top - top), 0.0)
        weights = np.exp(logits - top.astype(logits.dtype))
        self._total = shrunk * self._total + weights.sum(axis=0)
        self._sums = shrunk * self._sums + np.einsum("rs,rs->s", weights, rows)
        self._top = top

    def mean(self) -> Floats:
        """Rows averaged by their weights, ``[size]``."""
        return self._sums / self._total


def local_logits(noisy: Floats, alpha_bar: float, rows: Floats, mask: Floats) -> Floats:
    """``-sum_n M[n, m] (x_n - sqrt(abar) x_in)^2 / (2 (1 - abar))``, ``[rows, size]``.

    Args:
        noisy: one point, ``[size]``.
        alpha_bar: between 0 and 1.
        rows: ``[rows, size]``.
        mask: ``[size, size]``, as floats.
    """
    root = rows.dtype.type(np.sqrt(alpha_bar))
    scale = rows.dtype.type(-0.5 / (1.0 - alpha_bar))
    return ((noisy - root * rows) ** 2 @ mask) * scale


class LocalEstimator:
    """Each number's posterior mean over all points: "PCA" in GoldDiff's tables.

    Costs ``O(points * size^2)`` a noisy point. The weights are a softmax over all the data; the first
    authors average softmaxes of batches instead, which GoldDiff shows to be biased.

    Args:
        points: the data.
        locality: which numbers count.
        block: rows that are looked at together.
    """

    def __init__(self, points: PointSet, locality: Locality, block: int = LOCAL_BLOCK) -> None:
        self.points, self.locality, self.block = points, locality, block

    @property
    def size(self) -> int:
        """Numbers in a point."""
        return self.points.size

    def estimate(self, noisy: Floats, alpha_bar: float) -> Floats:
        """The posterior means; see `CleanEstimator.estimate`."""
        alpha_bar = checked_alpha_bar(alpha_bar)
        noisy = checked_noisy(noisy, self.size)
        dtype = self.points.rows.dtype
        mask = self.locality.mask(alpha_bar).astype(dtype)
        clean = np.empty(noisy.shape, dtype=noisy.dtype)
        for place, point in enumerate(noisy.astype(dtype, copy=False)):
            softmax = PixelwiseSoftmax(self.size)
            for _, rows in self.points.blocks(self.block):
                softmax.add(local_logits(point, alpha_bar, rows, mask), rows)
            clean[place] = softmax.mean()
        return clean
