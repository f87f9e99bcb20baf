"""A screening index: the data in cells of nearby proxies, so that most of it is never looked at.

Known as inverted lists, or IVF. Beside where a cell lies it is kept how wide it is and how many points
it holds: that tells about how much of a posterior a cell holds without a look at its points.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsearch.analytical.estimator import Floats
from hwsearch.analytical.golden.proxies import PointProxy, project_all
from hwsearch.analytical.points import PointSet

#: Cells for the root of so many points; proxies that the cells are fitted on, a cell.
CELLS_PER_ROOT, FITTED_PER_CELL = 4.0, 40


@dataclass(frozen=True, eq=False)
class CellIndex:
    """Points sorted by cell; within a cell their order is random, so its beginning is a sample of it.

    Attributes:
        points: the data, sorted. They are a copy.
        proxy: what points are told apart by.
        proxies: ``[points, proxy size]``, sorted likewise.
        starts: ``[cells + 1]``, where each cell begins, and the end.
        centres: ``[cells, proxy size]``, the mean proxy of each.
        widths: ``[cells]``, variance of a proxy's numbers within each.
    """

    points: PointSet
    proxy: PointProxy
    proxies: Floats
    starts: NDArray[np.int64]
    centres: Floats
    widths: Floats

    @classmethod
    def build(
        cls, points: PointSet, proxy: PointProxy, cells: int | None = None, seed: int = 0
    ) -> CellIndex:
        """Sort points into cells by k-means of their proxies.

        Takes time in proportion to the data times the cells, once.

        Args:
            points: the data.
            proxy: what they are told apart by.
            cells: how many; `CELLS_PER_ROOT` times the root of their number if left.
            seed: of the clustering and of the order within cells.
        """
        wanted = round(CELLS_PER_ROOT * np.sqrt(len(points))) if cells is None else cells
        proxies = project_all(points, proxy)
        labels = _clusters(proxies, min(wanted, max(1, len(points) // 4)), seed)
        order = np.random.default_rng(seed).permutation(len(points))
        order = order[np.argsort(labels[order], kind="stable")]
        _, sizes = np.unique(labels, return_counts=True)
        starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        proxies = proxies[order]
        centres = np.add.reduceat(proxies, starts[:-1], axis=0) / sizes[:, None]
        squares = np.add.reduceat((proxies**2).sum(axis=1), starts[:-1]) / sizes
        widths = np.maximum(squares - (centres**2).sum(axis=1), 0.0) / proxies.shape[1]
        rows = np.asarray(points.rows)[order]
        dtype = proxies.dtype
        kept = PointSet(points.name, rows, points.image_shape)
        return cls(kept, proxy, proxies, starts, centres.astype(dtype), widths.astype(dtype))

    @property
    def sizes(self) -> NDArray[np.int64]:
        """Points of each cell."""
        return np.diff(self.starts)

    def look_up(self, projected: Floats, alpha_bar: float) -> tuple[Floats, Floats]:
        """How near cells are to noisy points, and about which share of the posterior each holds.

        Each cell counts as a round normal cloud of proxies. A proxy tells less than a point does, so
        these shares are broader than the posterior is.

        Args:
            projected: proxies ``[batch, proxy size]`` of noisy points.
            alpha_bar: between 0 and 1.

        Returns:
            Twice ``[batch, cells]``: the negative squared distance to the centre, and the share.
        """
        spread = 1.0 - alpha_bar + alpha_bar * self.widths
        nearness = 2.0 * np.sqrt(alpha_bar) * (projected @ self.centres.T)
        nearness -= alpha_bar * (self.centres**2).sum(axis=1)
        nearness -= (projected**2).sum(axis=1)[:, None]
        size = self.centres.shape[1]
        logs = np.log(self.sizes) - 0.5 * size * np.log(spread) + 0.5 * nearness / spread
        weights = np.exp(logs - logs.max(axis=1, keepdims=True))
        return nearness, weights / weights.sum(axis=1, keepdims=True)


def _clusters(proxies: Floats, cells: int, seed: int) -> NDArray[np.int64]:
    """The cell of each proxy: k-means, fitted on a sample of them."""
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.exceptions import ConvergenceWarning

    rng = np.random.default_rng(seed)
    sample = rng.permutation(len(proxies))[: max(FITTED_PER_CELL * cells, 10_000)]
    means = MiniBatchKMeans(
        cells, init="random", n_init=1, batch_size=8192, max_iter=20, random_state=seed
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than cells
        means.fit(proxies[sample])
    blocks = range(0, len(proxies), 65_536)
    found = [means.predict(proxies[start : start + 65_536]) for start in blocks]
    return np.concatenate(found).astype(np.int64)
