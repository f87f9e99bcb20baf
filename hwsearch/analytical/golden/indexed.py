"""A golden subset at a cost that hardly grows with the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsearch.analytical.concentration import measure_concentration
from hwsearch.analytical.estimator import Floats, checked_alpha_bar, checked_noisy
from hwsearch.analytical.golden.cells import CellIndex
from hwsearch.analytical.golden.inclusion import expected_counts, first_of_cells, systematic_counts
from hwsearch.analytical.golden.proxies import PointProxy, PrincipalCoordinates
from hwsearch.analytical.noise import linear_schedule
from hwsearch.analytical.points import PointSet
from hwsearch.analytical.posterior import Posterior, whole_logits
from hwsearch.analytical.wiener import WienerEstimator
from hwsearch.errors import InputError

#: Points that are looked at for a noisy point: from the index, and of the fixed sample.
BUDGET, SAMPLE = 1024, 2048

#: The fixed sample is used where the posterior averages at least so many of its points.
BROAD = 192


@dataclass(frozen=True, eq=False)
class Estimated:
    """Estimated clean points.

    Attributes:
        clean: ``[batch, size]``.
        standard_error: ``[batch]``, root mean square over the numbers of a point, by which the sampling
            alone moves them; 0 where all that counts was looked at.
    """

    clean: Floats
    standard_error: Floats


class IndexedEstimator:
    """The posterior's mean from about a constant number of points, in two ways.

    *Where noise is high* the posterior spreads over a fixed share of the data, so a fixed random sample
    of it does. The Wiener estimator of the sample is known and so is that of all data; their difference
    corrects the sample's mean (a control variate), which is exact to first order in the signal.

    *Where noise is low* an index of cells says where the posterior's mass is. A budget of points goes to
    the cells by their mass: whole cells that are near, samples of those that are not so. Each point
    counts by the inverse of the probability that it was looked at (Hájek's estimator), so nothing is
    cut off.

    Costs ``O(sqrt(points) * proxy + budget * size)`` a noisy point, and one pass over the data before.

    Args:
        points: the data.
        proxy: what cells are told apart by; 32 principal coordinates if left.
        budget: points that are looked at.
        sample: points of the fixed sample.
        cells: cells of the index; see `CellIndex.build`.
        seed: of sample and index.

    Raises:
        InputError: budget or sample are below 2.
    """

    def __init__(
        self,
        points: PointSet,
        proxy: PointProxy | None = None,
        *,
        budget: int = BUDGET,
        sample: int = SAMPLE,
        cells: int | None = None,
        seed: int = 0,
    ) -> None:
        if min(budget, sample) < 2:
            raise InputError(f"at least 2 points are looked at; got {min(budget, sample)}")
        self.wiener, self.budget = WienerEstimator.fit(points), budget
        self.proxy = proxy or PrincipalCoordinates.of(self.wiener, 32, points.rows.dtype)
        self.index = CellIndex.build(points, self.proxy, cells, seed)
        self._full = Posterior(self.index.points)
        order = np.random.default_rng([seed, 1]).permutation(len(points))
        drawn = np.sort(order[:sample])
        kept = PointSet(points.name, np.asarray(self.index.points.rows[drawn]))
        self._sample, self._sample_wiener = Posterior(kept), WienerEstimator.fit(kept)
        #: The posterior is broad at alpha-bars of at most this.
        self.broad_below = self._broad_below(points, seed)

    @property
    def size(self) -> int:
        """Numbers in a point."""
        return self.wiener.size

    def estimate(self, noisy: Floats, alpha_bar: float) -> Floats:
        """The posterior's mean; see `CleanEstimator.estimate`."""
        return self.estimate_with_error(noisy, alpha_bar).clean

    def estimate_with_error(self, noisy: Floats, alpha_bar: float) -> Estimated:
        """The posterior's mean, and how far chance may have moved it.

        Raises:
            InputError: as `CleanEstimator.estimate`.
        """
        alpha_bar = checked_alpha_bar(alpha_bar)
        noisy = checked_noisy(noisy, self.size)
        points = noisy.astype(self.index.points.rows.dtype, copy=False)
        look = self._broad if alpha_bar <= self.broad_below else self._narrow
        found = look(points, alpha_bar)
        return Estimated(found.clean.astype(noisy.dtype), found.standard_error)

    def _broad(self, noisy: Floats, alpha_bar: float) -> Estimated:
        softmax = self._sample.softmax(noisy, alpha_bar)
        correction = self.wiener.estimate(noisy, alpha_bar)
        correction -= self._sample_wiener.estimate(noisy, alpha_bar)
        left = 1.0 - len(self._sample.points) / len(self.index.points)
        spread = self.wiener.variances.sum() / self.size  # no posterior is wider, on average
        error = np.sqrt(left * spread / softmax.effective_points())
        return Estimated(softmax.mean() + correction, error)

    def _narrow(self, noisy: Floats, alpha_bar: float) -> Estimated:
        masses = self.index.masses(noisy, alpha_bar)
        found = [self._hajek(noisy[i], alpha_bar, masses[i]) for i in range(len(noisy))]
        clean = np.stack([one.clean for one in found])
        return Estimated(clean, np.array([one.standard_error for one in found]))

    def _hajek(self, noisy: Floats, alpha_bar: float, masses: Floats) -> Estimated:
        """One noisy point ``[size]``."""
        sizes = self.index.sizes
        expected = expected_counts(masses, sizes, self.budget)
        counts = systematic_counts(expected)
        where = first_of_cells(counts, self.index.starts)
        probability = np.repeat(expected / sizes, counts)
        rows = self.index.points.rows[where]
        logits = whole_logits(
            noisy[None], alpha_bar, rows, self._full.squares[where], self._full.mean
        )[0]
        logits = logits - np.log(probability)
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        clean = weights.astype(rows.dtype) @ rows
        return Estimated(clean, self._error(rows, clean, weights, probability))

    def _error(self, rows: Floats, clean: Floats, weights: Floats, probability: Floats) -> Floats:
        """The linearised standard error of Hájek's estimator, were points drawn one by one."""
        chance = weights**2 * (1.0 - probability)
        heavy = chance > 1e-4 * chance.max(initial=0.0)
        distances = ((rows[heavy] - clean) ** 2).mean(axis=1)
        return np.sqrt((chance[heavy] * distances).sum())

    def _broad_below(self, points: PointSet, seed: int) -> float:
        """The least noise at which the posterior still averages `BROAD` points of the sample."""
        if len(self._sample.points) == len(points):
            return 1.0  # the sample is all there is, and exact
        rng = np.random.default_rng([seed, 2])
        probes = np.asarray(points.rows[np.sort(rng.permutation(len(points))[:16])])
        below = 0.0
        for found in measure_concentration(self._sample, probes, linear_schedule().levels(32), seed):
            if np.quantile(found.effective_points, 0.25) < BROAD:
                break
            below = found.alpha_bar
        return below
