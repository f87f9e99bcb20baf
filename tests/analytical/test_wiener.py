import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsearch.analytical.points import PointSet
from hwsearch.analytical.wiener import WienerEstimator
from tests.analytical.data import noisy_of, small_points


def posterior_mean(rows, noisy, alpha_bar):
    """Of a normal cloud, by the textbook: ``mu + S A^T (A S A^T + N)^-1 (x - A mu)``."""
    mean = rows.mean(axis=0)
    covariance = np.cov(rows.T, bias=True)
    root = np.sqrt(alpha_bar)
    seen = alpha_bar * covariance + (1 - alpha_bar) * np.eye(len(mean))
    return mean + (root * covariance @ np.linalg.solve(seen, (noisy - root * mean).T)).T


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000),
    count=st.integers(2, 60),
    size=st.integers(2, 20),
    level=st.floats(1e-6, 1 - 1e-4),
)
def test_it_is_the_posterior_of_a_normal_cloud(seed, count, size, level):
    """Also where there are fewer points than numbers in one, and the covariance is singular."""
    points = small_points(count=count, size=size, seed=seed)
    noisy = noisy_of(points, seed=seed)
    found = WienerEstimator.fit(points, block=7).estimate(noisy, level)
    np.testing.assert_allclose(found, posterior_mean(points.rows, noisy, level), atol=1e-5)


def test_few_points_have_few_axes():
    estimator = WienerEstimator.fit(small_points(count=5, size=12))
    assert estimator.axes.shape == (12, 4)
    np.testing.assert_allclose(estimator.axes.T @ estimator.axes, np.eye(4), atol=1e-10)


def test_it_is_affine():
    points = small_points()
    estimator, noisy = WienerEstimator.fit(points), noisy_of(points)
    matrix, offset = estimator.affine(0.3)
    np.testing.assert_allclose(
        noisy @ matrix.T + offset, estimator.estimate(noisy, 0.3), atol=1e-10
    )


def test_points_that_are_all_the_same_come_back():
    rows = np.ones((6, 3))
    found = WienerEstimator.fit(PointSet("same", rows)).estimate(np.zeros((2, 3)), 0.5)
    np.testing.assert_allclose(found, np.ones((2, 3)))


@pytest.mark.parametrize("count", [8, 400])
def test_both_decompositions_agree(count):
    points = small_points(count=count, size=12)
    estimator = WienerEstimator.fit(points)
    covariance = (estimator.axes * estimator.variances) @ estimator.axes.T
    np.testing.assert_allclose(covariance, np.cov(points.rows.T, bias=True), atol=1e-10)
