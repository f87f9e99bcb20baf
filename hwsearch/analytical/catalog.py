"""Clean estimators by name, each made of points alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hwsearch.analytical.estimator import CleanEstimator
from hwsearch.analytical.golden.indexed import IndexedEstimator
from hwsearch.analytical.golden.proxies import usual_proxy
from hwsearch.analytical.golden.subset import GoldenEstimator
from hwsearch.analytical.locality import LocalEstimator, Locality
from hwsearch.analytical.optimal import OptimalEstimator
from hwsearch.analytical.points import PointSet
from hwsearch.analytical.wiener import WienerEstimator
from hwsearch.errors import UnknownNameError


@dataclass(frozen=True)
class EstimatorMethod:
    """A way to estimate clean points.

    Attributes:
        line: what it is, in a line.
        make: an estimator of points and a seed.
    """

    line: str
    make: Callable[[PointSet, int], CleanEstimator]


def _golden(points: PointSet, seed: int) -> CleanEstimator:
    return GoldenEstimator(points, usual_proxy(points, WienerEstimator.fit(points)), seed=seed)


def _local(points: PointSet, _seed: int) -> CleanEstimator:
    return LocalEstimator(points, Locality(WienerEstimator.fit(points)))


def _golden_local(points: PointSet, seed: int) -> CleanEstimator:
    wiener = WienerEstimator.fit(points)
    return GoldenEstimator(
        points, usual_proxy(points, wiener), pool="random", locality=Locality(wiener), seed=seed
    )


#: Methods by the name that a user gives.
METHODS = {
    "optimal": EstimatorMethod(
        "posterior mean over all points", lambda points, _: OptimalEstimator(points)
    ),
    "wiener": EstimatorMethod(
        "posterior mean of one normal cloud", lambda points, _: WienerEstimator.fit(points)
    ),
    "local": EstimatorMethod("a posterior for each pixel, over all points", _local),
    "golden": EstimatorMethod("posterior mean over a golden subset", _golden),
    "golden-local": EstimatorMethod("GoldDiff's code: subset, and a posterior a pixel", _golden_local),
    "indexed": EstimatorMethod(
        "posterior mean by an index, at a cost that hardly grows",
        lambda points, seed: IndexedEstimator(points, seed=seed),
    ),
}  # fmt: skip


def make_estimator(method: str, points: PointSet, seed: int = 0) -> CleanEstimator:
    """An estimator by name.

    Raises:
        UnknownNameError: there is none of this name.
    """
    if method not in METHODS:
        raise UnknownNameError("method", method, METHODS)
    return METHODS[method].make(points, seed)
