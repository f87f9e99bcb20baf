import numpy as np
import pytest

from hwsearch.analytical.golden.proxies import BlockMeans
from hwsearch.analytical.golden.subset import GoldenEstimator, GoldenSchedule
from hwsearch.analytical.locality import LocalEstimator, Locality
from hwsearch.analytical.optimal import OptimalEstimator
from hwsearch.analytical.wiener import WienerEstimator
from hwsearch.errors import InputError
from tests.analytical.data import by_hand, noisy_of, small_points

PROXY = BlockMeans((4, 4, 3), 2)
LEVELS = (1e-4, 0.3, 0.9, 0.9999)


def images(count=200):
    return small_points(count=count, size=48, image_shape=(4, 4, 3))


def test_the_schedule_is_the_authors():
    schedule = GoldenSchedule.usual(50_000)
    assert schedule == GoldenSchedule(2500, 5000)
    assert (schedule.kept(1e-9), schedule.screened(1e-9, 50_000)) == (5000, 5000)
    almost = 1 - 1e-12
    assert (schedule.kept(almost), schedule.screened(almost, 50_000)) == (2500, 50_000)
    assert (schedule.kept(0.75), schedule.screened(0.75, 50_000)) == (3750, 27_500)


@pytest.mark.parametrize("pool", ["nearest", "random"])
@pytest.mark.parametrize("level", LEVELS)
def test_with_all_points_it_is_the_optimal_denoiser(pool, level):
    points = images()
    schedule = GoldenSchedule(len(points), len(points))
    noisy = noisy_of(points)
    found = GoldenEstimator(points, PROXY, schedule, pool=pool).estimate(noisy, level)
    wanted = OptimalEstimator(points, block=len(points)).estimate(noisy, level)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12)


def test_with_all_points_and_locality_it_is_the_local_denoiser():
    points, level = images(), 0.5
    locality = Locality(WienerEstimator.fit(points))
    schedule = GoldenSchedule(len(points), len(points))
    noisy = noisy_of(points)
    found = GoldenEstimator(points, PROXY, schedule, locality=locality).estimate(noisy, level)
    wanted = LocalEstimator(points, locality).estimate(noisy, level)
    np.testing.assert_allclose(found, wanted, atol=1e-10)


@pytest.mark.parametrize("level", LEVELS)
def test_it_averages_the_best_of_the_nearest_by_proxy(level):
    points = images()
    schedule = GoldenSchedule(4, 11)
    noisy = noisy_of(points, batch=1)
    root = np.sqrt(level)
    coarse = ((PROXY.project(noisy) - root * PROXY.project(points.rows)) ** 2).sum(axis=1)
    pool = np.argsort(coarse)[: schedule.screened(level, len(points))]
    fine = ((noisy - root * points.rows[pool]) ** 2).sum(axis=1)
    best = pool[np.argsort(fine)[: schedule.kept(level)]]
    estimator = GoldenEstimator(points, PROXY, schedule)
    assert set(estimator.subset(noisy, level)) == set(best)
    wanted = by_hand(noisy, points.rows[best], level) @ points.rows[best]
    np.testing.assert_allclose(estimator.estimate(noisy, level), wanted, atol=1e-10)


def test_a_random_pool_keeps_the_nearest_of_some():
    points, level = images(), 0.5
    schedule = GoldenSchedule(5, 20)
    estimator = GoldenEstimator(points, PROXY, schedule, pool="random", seed=4)
    found = estimator.subset(noisy_of(points, batch=1), level)
    assert len(set(found)) == schedule.kept(level)
    other = GoldenEstimator(points, PROXY, schedule, pool="random", seed=5)
    assert set(found) != set(other.subset(noisy_of(points, batch=1), level))


def test_a_subset_larger_than_the_data_is_refused():
    with pytest.raises(InputError, match="golden subset of 201 points is larger than the data"):
        GoldenEstimator(images(), PROXY, GoldenSchedule(1, 201))
    for least, most in ((0, 5), (6, 5)):
        with pytest.raises(InputError, match="a golden subset has at least 1 point"):
            GoldenSchedule(least, most)
