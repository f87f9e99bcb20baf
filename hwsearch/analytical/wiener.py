"""The Wiener denoiser: the posterior's mean, were the data one normal cloud."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsearch.analytical.estimator import Floats, checked_alpha_bar, checked_noisy
from hwsearch.analytical.points import BLOCK, PointSet

#: Variances below this share of the largest are rounding, and count as none.
_LEAST = 1e-10


@dataclass(frozen=True, eq=False)
class WienerEstimator:
    """``x0 = mu + U diag(sqrt(abar) l / (abar l + 1 - abar)) U^T (x - sqrt(abar) mu)``.

    Mean and principal axes of the data are all it knows, so a noisy point costs ``O(size * rank)``,
    however many points there were. It is affine in the noisy point: see `affine`.

    Attributes:
        mean: ``mu``, ``[size]``.
        axes: ``U``, ``[size, rank]``, orthonormal columns, the widest first.
        variances: ``l``, ``[rank]``, of the data along the axes, divided by their number.
    """

    mean: NDArray[np.float64]
    axes: NDArray[np.float64]
    variances: NDArray[np.float64]

    @classmethod
    def fit(cls, points: PointSet, block: int = BLOCK) -> WienerEstimator:
        """Mean and axes of a point set.

        Fewer points than numbers in one are decomposed as they are (SVD of the centred data, whose rank
        is low); more by their covariance, which is added up over blocks.
        """
        mean = points.mean(block)
        if len(points) <= points.size:
            centred = np.asarray(points.rows, dtype=np.float64) - mean
            _, values, transposed = np.linalg.svd(centred, full_matrices=False)
            return cls._kept(mean, transposed.T, values**2 / len(points))
        covariance = np.zeros((points.size, points.size))
        for _, rows in points.blocks(block):
            centred = rows.astype(np.float64) - mean
            covariance += centred.T @ centred / len(points)
        variances, axes = np.linalg.eigh(covariance)
        return cls._kept(mean, axes[:, ::-1], variances[::-1])

    @classmethod
    def _kept(cls, mean: Floats, axes: Floats, variances: Floats) -> WienerEstimator:
        kept = variances > _LEAST * max(float(variances[0]), np.finfo(np.float64).tiny)
        kept[0] = True  # points that are all the same have an axis, too, of no width
        parts = (mean, np.ascontiguousarray(axes[:, kept]), variances[kept])
        return cls(*(np.asarray(part, dtype=np.float64) for part in parts))

    @property
    def size(self) -> int:
        """Numbers in a point."""
        return len(self.mean)

    def gains(self, alpha_bar: float) -> NDArray[np.float64]:
        """``sqrt(abar) l / (abar l + 1 - abar)`` along each axis."""
        alpha_bar = checked_alpha_bar(alpha_bar)
        spread = alpha_bar * self.variances + 1.0 - alpha_bar
        return np.asarray(np.sqrt(alpha_bar) * self.variances / spread)

    def estimate(self, noisy: Floats, alpha_bar: float) -> Floats:
        """The normal cloud's posterior mean; see `CleanEstimator.estimate`."""
        gains = self.gains(alpha_bar)
        moved = checked_noisy(noisy, self.size) - np.sqrt(alpha_bar) * self.mean
        clean = self.mean + (moved @ self.axes * gains) @ self.axes.T
        return clean.astype(noisy.dtype)

    def affine(self, alpha_bar: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The matrix ``[size, size]`` and offset ``[size]`` of ``x0 = A x + b``."""
        matrix = (self.axes * self.gains(alpha_bar)) @ self.axes.T
        return matrix, self.mean - np.sqrt(alpha_bar) * (matrix @ self.mean)
