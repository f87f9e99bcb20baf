"""A golden subset at a cost that hardly grows with the data."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from hwsearch.analytical.concentration import measure_concentration
from hwsearch.analytical.estimator import Floats, checked_alpha_bar, checked_noisy
from hwsearch.analytical.golden.cells import CellIndex
from hwsearch.analytical.golden.inclusion import expected_counts, first_of_cells, systematic_counts
from hwsearch.analytical.golden.proxies import PointProxy, PrincipalCoordinates
from hwsearch.analytical.noise import linear_schedule
from hwsearch.analytical.points import PointSet
from hwsearch.analytical.posterior import PointPosterior, whole_logits
from hwsearch.analytical.wiener import WienerEstimator
from hwsearch.errors import InputError

Places = NDArray[np.int64]

#: Numbers that may always be looked at, in points of whatever size.
NUMBERS = 786_432

#: Where noise is low: points of the pool, whose proxies are looked at, and the least that are in full.
POOL, LEAST_BUDGET = 4096, 256

#: Points of the fixed sample: for the root of the data's number, and at least.
SAMPLE_PER_ROOT, LEAST_SAMPLE = 12.0, 2048

#: Principal coordinates that cells and points are told apart by.
AXES = 128

#: Axes of the Wiener estimators that correct the fixed sample.
CONTROL_AXES = 128

#: The fixed sample is used where the posterior averages at least so many of its points.
BROAD = 256


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

    *Where noise is low* an index of cells says where the posterior's mass is. A pool of points comes from
    the cells: whole cells that are near, samples of others by their mass. By proxies some of the pool are
    chosen in the same manner, and looked at in full. Each point counts by the inverse of the probability
    that it was looked at (Hájek's estimator), so nothing is cut off.

    Costs ``O(sqrt(points) * (proxy + size) + pool * proxy + budget * size)`` a noisy point, and a pass
    over the data for each cell before.

    Args:
        points: the data.
        proxy: what cells are told apart by; `AXES` principal coordinates if left.
        pool: points whose proxies are looked at.
        budget: points of these that are looked at in full; so many that they have `NUMBERS` numbers, but
            at least `LEAST_BUDGET`, if left.
        sample: points of the fixed sample; `SAMPLE_PER_ROOT` times the root of their number, or as many as
            have `NUMBERS` numbers, if left.
        cells: cells of the index; see `CellIndex.build`.
        seed: of sample and index.

    Raises:
        InputError: pool, budget or sample are below 2.
    """

    def __init__(
        self,
        points: PointSet,
        proxy: PointProxy | None = None,
        *,
        pool: int = POOL,
        budget: int | None = None,
        sample: int | None = None,
        cells: int | None = None,
        seed: int = 0,
    ) -> None:
        if sample is None:
            root = round(SAMPLE_PER_ROOT * np.sqrt(len(points)))
            sample = max(LEAST_SAMPLE, root, NUMBERS // points.size)
        if budget is None:
            budget = max(LEAST_BUDGET, min(NUMBERS // points.size, pool))
        if min(pool, budget, sample) < 2:
            raise InputError(f"at least 2 points are looked at; got {min(pool, budget, sample)}")
        self.wiener, self.pool, self.budget = WienerEstimator.fit(points), pool, budget
        self.proxy = proxy or PrincipalCoordinates.of(self.wiener, AXES, points.rows.dtype)
        self.index = CellIndex.build(points, self.proxy, cells, seed)
        self._full = PointPosterior(self.index.points)
        self._proxy_mean = self.proxy.project(self._full.mean[None])[0]
        order = np.random.default_rng([seed, 1]).permutation(len(points))
        drawn = np.sort(order[:sample])
        kept = PointSet(points.name, np.asarray(self.index.points.rows[drawn]))
        self._sample = PointPosterior(kept)
        self._controls = _control(self.wiener), _control(WienerEstimator.fit(kept))
        #: The posterior is broad at alpha-bars of at most this.
        self.broad_below = self._broad_below(points, seed)

    @property
    def size(self) -> int:
        """Numbers in a point."""
        return self.wiener.size

    def estimate(self, noisy: Floats, alpha_bar: float) -> Floats:
        """The posterior's mean; see `CleanEstimator.estimate`."""
        return self._estimated(noisy, alpha_bar, with_error=False).clean

    def estimate_with_error(self, noisy: Floats, alpha_bar: float) -> Estimated:
        """The posterior's mean, and how far chance may have moved it.

        Raises:
            InputError: as `CleanEstimator.estimate`.
        """
        return self._estimated(noisy, alpha_bar, with_error=True)

    def _estimated(self, noisy: Floats, alpha_bar: float, with_error: bool) -> Estimated:
        alpha_bar = checked_alpha_bar(alpha_bar)
        noisy = checked_noisy(noisy, self.size)
        points = noisy.astype(self.index.points.rows.dtype, copy=False)
        if alpha_bar <= self.broad_below:
            found = self._broad(points, alpha_bar)
        else:
            found = self._narrow(points, alpha_bar, with_error)
        return Estimated(found.clean.astype(noisy.dtype, copy=False), found.standard_error)

    def _broad(self, noisy: Floats, alpha_bar: float) -> Estimated:
        """By the fixed sample."""
        softmax = self._sample.softmax(noisy, alpha_bar)
        full, sampled = (control.estimate(noisy, alpha_bar) for control in self._controls)
        left = 1.0 - len(self._sample.points) / len(self.index.points)
        spread = self.wiener.variances.sum() / self.size  # no posterior is wider, on average
        error = np.sqrt(left * spread / softmax.effective_points())
        return Estimated(softmax.mean() + full - sampled, error)

    def _narrow(self, noisy: Floats, alpha_bar: float, with_error: bool) -> Estimated:
        """By the index."""
        projected = self.proxy.project(noisy)
        nearness, masses = self.index.look_up(projected, alpha_bar)
        clean, errors = np.empty_like(noisy), np.zeros(len(noisy))
        for place in range(len(noisy)):
            expected = expected_counts(nearness[place], masses[place], self.index.sizes, self.pool)
            where, chance = self._chosen(projected[place], alpha_bar, expected)
            rows = self.index.points.rows.take(where, axis=0)
            squares = self._full.squares[where]
            point = noisy[place : place + 1]
            logits = whole_logits(point, alpha_bar, rows, squares, self._full.mean)[0]
            weights = _softmax(logits - np.log(chance))
            clean[place] = weights @ rows
            if with_error:
                errors[place] = _hajek_error(rows, clean[place], weights, chance)
        return Estimated(clean, errors)

    def _chosen(
        self, projected: Floats, alpha_bar: float, expected: Floats
    ) -> tuple[Places, Floats]:
        """Points of cells, of those again by their own proxies; and how probable each was."""
        counts = systematic_counts(expected)
        where = first_of_cells(counts, self.index.starts)
        chance = np.repeat((expected / self.index.sizes).astype(projected.dtype), counts)
        if len(where) <= self.budget:
            return where, chance
        # what proxies do not see of a point counts by its length alone
        near = whole_logits(
            projected[None],
            alpha_bar,
            self.index.proxies.take(where, axis=0),
            self._full.squares[where],
            self._proxy_mean,
        )[0]
        sizes = np.ones_like(where)
        shares = _softmax(near - np.log(chance))
        chosen = expected_counts(near, shares, sizes, self.budget)
        kept = np.flatnonzero(systematic_counts(chosen))
        return where[kept], (chance[kept] * chosen[kept]).astype(projected.dtype)

    def _broad_below(self, points: PointSet, seed: int) -> float:
        """The least noise at which the posterior still averages `BROAD` points of the sample."""
        if len(self._sample.points) == len(points):
            return 1.0  # the sample is all there is, and exact
        rng = np.random.default_rng([seed, 2])
        probes = np.asarray(points.rows[np.sort(rng.permutation(len(points))[:16])])
        below = 0.0
        for found in measure_concentration(
            self._sample, probes, linear_schedule().levels(32), seed
        ):
            if np.quantile(found.effective_points, 0.25) < BROAD:
                break
            below = found.alpha_bar
        return below


def _control(wiener: WienerEstimator) -> WienerEstimator:
    """Its first axes: where noise is high it leaves the others nearly alone."""
    return replace(
        wiener, axes=wiener.axes[:, :CONTROL_AXES], variances=wiener.variances[:CONTROL_AXES]
    )


def _softmax(logits: Floats) -> Floats:
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def _hajek_error(rows: Floats, clean: Floats, weights: Floats, chance: Floats) -> float:
    """The linearised standard error of Hájek's estimator, were points drawn one by one."""
    moves = weights**2 * (1.0 - chance)
    heavy = moves > 1e-4 * moves.max(initial=0.0)
    distances = ((rows[heavy] - clean) ** 2).mean(axis=1)
    return float(np.sqrt((moves[heavy] * distances).sum()))
