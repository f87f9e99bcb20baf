"""The optimal denoiser of a data set: the mean of its posterior, over every point."""

from __future__ import annotations

from hwsearch.analytical.estimator import Floats
from hwsearch.analytical.points import BLOCK, PointSet
from hwsearch.analytical.posterior import PointPosterior


class OptimalEstimator:
    """``x0 = sum_i w_i x_i``, `w` the posterior over all points: what a network's loss is least at.

    Exact, and a scan of all the data for every noisy point: ``O(points * size)``. It knows nothing but
    the data: where noise is low it gives back data points.

    Args:
        points: the data.
        block: rows that are looked at together.
    """

    def __init__(self, points: PointSet, block: int = BLOCK) -> None:
        self.posterior = PointPosterior(points, block)

    @property
    def size(self) -> int:
        """Numbers in a point."""
        return self.posterior.points.size

    def estimate(self, noisy: Floats, alpha_bar: float) -> Floats:
        """The posterior's mean; see `CleanEstimator.estimate`."""
        return self.posterior.softmax(noisy, alpha_bar).mean().astype(noisy.dtype)
