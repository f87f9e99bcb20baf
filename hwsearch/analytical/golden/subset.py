"""GoldDiff as its authors describe it: the posterior over a small subset, found coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwsearch.analytical.estimator import Floats, checked_alpha_bar, checked_noisy
from hwsearch.analytical.golden.proxies import PointProxy, project_all
from hwsearch.analytical.locality import Locality, PixelwiseSoftmax, local_logits
from hwsearch.analytical.points import PointSet
from hwsearch.analytical.posterior import PointPosterior, StreamingSoftmax, whole_logits
from hwsearch.errors import InputError

#: How the pool of candidates is found: `nearest` by proxy, as the paper says; or `random`, as the
#: authors' code does, which then keeps the nearest `most` by proxy.
Pool = Literal["nearest", "random"]


@dataclass(frozen=True)
class GoldenSchedule:
    """How many points are looked at, from level to level of noise (GoldDiff, equations 4 and 6).

    With ``sigma = sqrt(1 - abar)`` the subset has ``k = k_max - (k_max - k_min)(1 - sigma)`` points, and
    the pool that it is chosen from ``m = k_max + (N - k_max)(1 - sigma)``.

    Attributes:
        least: ``k_min``.
        most: ``k_max``.
    """

    least: int
    most: int

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.most:
            raise InputError(
                f"a golden subset has at least 1 point, and at least as many at its largest; got "
                f"{self.least} to {self.most}"
            )

    @classmethod
    def usual(cls, points: int) -> GoldenSchedule:
        """The authors' for CIFAR-10: a twentieth to a tenth of the points."""
        return cls(max(1, points // 20), max(1, points // 10))

    def kept(self, alpha_bar: float) -> int:
        """``k``, points of the subset."""
        return round(self.most - (self.most - self.least) * _signal(alpha_bar))

    def screened(self, alpha_bar: float, points: int) -> int:
        """``m``, points of the pool, of so many in all."""
        return round(self.most + (points - self.most) * _signal(alpha_bar))


def _signal(alpha_bar: float) -> float:
    return 1.0 - float(np.sqrt(1.0 - alpha_bar))


class GoldenEstimator:
    """The posterior's mean over a golden subset of the data, chosen anew for every noisy point.

    A pool is screened by proxy, and the best of it in full. As published, pool and subset are shares of
    the data, so the cost is linear in it: see `IndexedEstimator` for one that is not.

    Args:
        points: the data.
        proxy: what candidates are screened by.
        schedule: how many there are; `GoldenSchedule.usual` if left.
        pool: see `Pool`.
        locality: weigh each number of a point by itself, as the authors do; None weighs whole points.
        seed: of the random pool.

    Raises:
        InputError: a subset would be larger than the data.
    """

    def __init__(
        self,
        points: PointSet,
        proxy: PointProxy,
        schedule: GoldenSchedule | None = None,
        *,
        pool: Pool = "nearest",
        locality: Locality | None = None,
        seed: int = 0,
    ) -> None:
        self.schedule = schedule or GoldenSchedule.usual(len(points))
        if self.schedule.most > len(points):
            raise InputError(
                f"a golden subset of {self.schedule.most} points is larger than the data "
                f"({len(points)}): take at most so many"
            )
        self.posterior, self.proxy, self.pool = PointPosterior(points), proxy, pool
        self.locality, self.seed = locality, seed
        self._proxies = project_all(points, proxy)
        self._proxy_squares = (self._proxies**2).sum(axis=1)

    @property
    def size(self) -> int:
        """Numbers in a point."""
        return self.posterior.points.size

    def estimate(self, noisy: Floats, alpha_bar: float) -> Floats:
        """The mean over each point's golden subset; see `CleanEstimator.estimate`."""
        alpha_bar = checked_alpha_bar(alpha_bar)
        noisy = checked_noisy(noisy, self.size)
        mask = None if self.locality is None else self.locality.mask(alpha_bar)
        points = noisy.astype(self._proxies.dtype, copy=False)
        clean = np.empty(noisy.shape, dtype=noisy.dtype)
        for place in range(len(points)):
            subset = self.subset(points[place : place + 1], alpha_bar)
            clean[place] = self._mean(points[place : place + 1], alpha_bar, subset, mask)
        return clean

    def subset(self, noisy: Floats, alpha_bar: float) -> NDArray[np.intp]:
        """Places of the golden subset of one noisy point ``[1, size]``."""
        pool, proxies = self._candidates(noisy, alpha_bar)
        if self.pool == "random":
            pool = pool[_best(proxies, self.schedule.most)]
        kept = self.schedule.kept(alpha_bar)
        if kept >= len(pool):
            return pool
        return pool[_best(self._logits(noisy, alpha_bar, pool), kept)]

    def _candidates(self, noisy: Floats, alpha_bar: float) -> tuple[NDArray[np.intp], Floats]:
        """A pool, and how near its proxies are."""
        count = len(self._proxies)
        wanted = self.schedule.screened(alpha_bar, count)
        if self.pool == "random":
            rng = np.random.default_rng(self.seed)
            pool = np.sort(rng.permutation(count)[:wanted])
            return pool, self._near(
                noisy, alpha_bar, self._proxies[pool], self._proxy_squares[pool]
            )
        near = self._near(noisy, alpha_bar, self._proxies, self._proxy_squares)
        pool = np.sort(_best(near, wanted))
        return pool, near[pool]

    def _near(self, noisy: Floats, alpha_bar: float, proxies: Floats, squares: Floats) -> Floats:
        nothing = np.zeros(self.proxy.size, dtype=proxies.dtype)
        return whole_logits(self.proxy.project(noisy), alpha_bar, proxies, squares, nothing)[0]

    def _logits(self, noisy: Floats, alpha_bar: float, where: NDArray[np.intp]) -> Floats:
        rows = np.asarray(self.posterior.points.rows[where])
        return self.posterior.logits(noisy, alpha_bar, where, rows)[0]

    def _mean(
        self,
        noisy: Floats,
        alpha_bar: float,
        subset: NDArray[np.intp],
        mask: NDArray[np.bool_] | None,
    ) -> Floats:
        rows = np.asarray(self.posterior.points.rows[subset])
        if mask is None:
            whole = StreamingSoftmax(1, self.size)
            whole.add(self.posterior.logits(noisy, alpha_bar, subset, rows), rows)
            return whole.mean()[0]
        local = PixelwiseSoftmax(self.size)
        local.add(local_logits(noisy[0], alpha_bar, rows, mask.astype(rows.dtype)), rows)
        return local.mean()


def _best(worth: Floats, count: int) -> NDArray[np.intp]:
    """Places of the `count` largest, in no order."""
    if count >= len(worth):
        return np.arange(len(worth))
    return np.argpartition(worth, len(worth) - count)[len(worth) - count :]
