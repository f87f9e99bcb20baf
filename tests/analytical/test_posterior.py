import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hwsearch.analytical.optimal import OptimalEstimator
from hwsearch.analytical.points import PointSet, map_points
from hwsearch.analytical.posterior import PointPosterior, StreamingSoftmax
from tests.analytical.data import by_hand, noisy_of, small_points

LEVELS = st.floats(1e-6, 1 - 1e-6)


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 10_000), level=LEVELS, block=st.integers(1, 70), far=st.floats(1, 1e3))
def test_means_and_concentration_are_those_written_out(seed, level, block, far):
    points = small_points(count=60, size=5, seed=seed)
    noisy = far * noisy_of(points, seed=seed)
    found = PointPosterior(points, block).softmax(noisy, level)
    weights = by_hand(noisy, points.rows, level)
    np.testing.assert_allclose(found.mean(), weights @ points.rows, atol=1e-6)
    np.testing.assert_allclose(found.effective_points(), 1 / (weights**2).sum(axis=1), rtol=1e-6)
    logs = np.log(np.where(weights > 0, weights, 1.0))
    np.testing.assert_allclose(found.entropy(), -(weights * logs).sum(axis=1), atol=1e-6)


@pytest.mark.parametrize("level", [1e-4, 0.5, 0.9999])
def test_blocks_and_order_of_points_do_not_matter(level):
    points = small_points()
    noisy = noisy_of(points)
    whole = OptimalEstimator(points, block=len(points)).estimate(noisy, level)
    for block in (1, 7, 64):
        parts = OptimalEstimator(points, block=block).estimate(noisy, level)
        np.testing.assert_allclose(parts, whole, atol=1e-10)
    mixed = PointSet("mixed", points.rows[np.random.default_rng(3).permutation(len(points))])
    other = OptimalEstimator(mixed, block=13).estimate(noisy, level)
    np.testing.assert_allclose(other, whole, atol=1e-10)


def test_logits_that_overflow_alone_do_not_together():
    softmax = StreamingSoftmax(2, 1)
    for logits in ([[-1e5], [0.0]], [[1e5], [-1e5]], [[1e5], [0.0]]):
        softmax.add(np.array(logits), np.array([[logits[0][0]]]))
    np.testing.assert_allclose(softmax.mean(), [[1e5], [0.0]])
    np.testing.assert_allclose(softmax.effective_points(), [2.0, 2.0])
    np.testing.assert_allclose(softmax.entropy(), np.log([2.0, 2.0]))


def test_a_mapped_file_gives_what_memory_gives(tmp_path):
    points = small_points(dtype=np.float32)
    np.save(tmp_path / "points.npy", points.rows.reshape(len(points), 2, 6))
    mapped = map_points(tmp_path / "points.npy")
    assert isinstance(mapped.rows, np.memmap)
    assert mapped.image_shape == (2, 6, 1)
    noisy = noisy_of(points)
    for level in (0.01, 0.5, 0.99):
        here = OptimalEstimator(points, block=32).estimate(noisy, level)
        assert (OptimalEstimator(mapped, block=32).estimate(noisy, level) == here).all()


def test_noise_alone_gives_the_mean_and_none_the_nearest_point():
    points = small_points()
    estimator = OptimalEstimator(points)
    noisy = noisy_of(points)
    mean = np.broadcast_to(points.rows.mean(axis=0), noisy.shape)
    np.testing.assert_allclose(estimator.estimate(noisy, 1e-12), mean, atol=1e-4)
    nearest = ((noisy[:, None] - points.rows) ** 2).sum(axis=2).argmin(axis=1)
    np.testing.assert_allclose(estimator.estimate(noisy, 1 - 1e-9), points.rows[nearest], atol=1e-9)


def test_single_precision_is_enough_where_noise_is_least():
    """Distances are differences of large numbers there."""
    exact = small_points(size=700)
    single = PointSet("single", exact.rows.astype(np.float32))
    level = 1 - 1e-4
    noisy = np.sqrt(level) * exact.rows[:20] + 0.01 * noisy_of(exact, 20)
    wanted = OptimalEstimator(exact).estimate(noisy, level)
    got = OptimalEstimator(single).estimate(noisy, level)
    np.testing.assert_allclose(got, wanted, atol=1e-5)
