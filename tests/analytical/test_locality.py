import numpy as np
import pytest

from hwsearch.analytical.locality import LocalEstimator, Locality, PixelwiseSoftmax
from hwsearch.analytical.optimal import OptimalEstimator
from hwsearch.analytical.points import PointSet
from hwsearch.analytical.wiener import WienerEstimator
from hwsearch.errors import InputError
from tests.analytical.data import by_hand, noisy_of, small_points


def test_each_number_has_the_posterior_of_what_counts_for_it():
    points, level = small_points(count=50, size=6), 0.4
    locality = Locality(WienerEstimator.fit(points), threshold=0.3)
    mask = locality.mask(level)
    assert mask.diagonal().all() and not mask.all()
    noisy = noisy_of(points)
    found = LocalEstimator(points, locality, block=7).estimate(noisy, level)
    for number in range(6):
        seen = np.flatnonzero(mask[:, number])
        weights = by_hand(noisy[:, seen], points.rows[:, seen], level)
        np.testing.assert_allclose(found[:, number], weights @ points.rows[:, number], atol=1e-9)


def test_where_all_counts_it_is_the_optimal_denoiser():
    points, level = small_points(), 0.7
    noisy = noisy_of(points)
    found = LocalEstimator(points, Locality(WienerEstimator.fit(points), 0.0)).estimate(
        noisy, level
    )
    np.testing.assert_allclose(found, OptimalEstimator(points).estimate(noisy, level), atol=1e-9)


def test_numbers_without_each_other_are_guessed_by_themselves():
    """Two halves that know nothing of each other combine freely: what no whole point can."""
    rng = np.random.default_rng(0)
    left, right = rng.choice([-1.0, 1.0], (2, 4000, 1))
    rows = np.concatenate([left.repeat(3, axis=1), right.repeat(3, axis=1)], axis=1)
    rows = rows[~((left[:, 0] > 0) & (right[:, 0] < 0))]  # one combination is missing
    counts = {side: (rows[:, 0] == side).sum() for side in (-1.0, 1.0)}
    points = PointSet("halves", rows[rng.permutation(len(rows))])
    wiener = WienerEstimator(np.zeros(6), np.eye(6), np.ones(6))
    block = np.kron(np.eye(2), np.ones((3, 3))) / np.sqrt(3)
    wiener = WienerEstimator(np.zeros(6), block[:, [0, 3]], np.array([3.0, 3.0]))
    asked = np.array([[1.0, 1, 1, -1, -1, -1]]) * np.sqrt(0.9)
    found = LocalEstimator(points, Locality(wiener)).estimate(asked, 0.9)
    np.testing.assert_allclose(found, [[1, 1, 1, -1, -1, -1]], atol=1e-3)
    assert np.abs(OptimalEstimator(points).estimate(asked, 0.9) - found).max() > 0.9
    assert min(counts.values()) > 100


def test_a_softmax_a_number_does_not_overflow():
    softmax = PixelwiseSoftmax(2)
    softmax.add(np.array([[-1e4, 0.0]]), np.array([[5.0, 1.0]]))
    softmax.add(np.array([[1e4, 0.0]]), np.array([[7.0, 3.0]]))
    np.testing.assert_allclose(softmax.mean(), [7.0, 2.0])


@pytest.mark.parametrize("threshold", [-0.1, 1.1, float("nan")])
def test_a_threshold_is_a_share(threshold):
    with pytest.raises(InputError, match="threshold is a share"):
        Locality(WienerEstimator.fit(small_points()), threshold)
