import numpy as np
import pytest

from hwsearch.analytical import METHODS, checked_points, make_estimator, map_points
from hwsearch.errors import UnknownNameError
from hwsearch.testing import CleanEstimatorContract
from tests.analytical.data import noisy_of, small_points


class TestOptimal(CleanEstimatorContract):
    def make(self, points):
        return make_estimator("optimal", points)


class TestWiener(CleanEstimatorContract):
    def make(self, points):
        return make_estimator("wiener", points)


class TestLocal(CleanEstimatorContract):
    def make(self, points):
        return make_estimator("local", points)


class TestGolden(CleanEstimatorContract):
    def make(self, points):
        return make_estimator("golden", points)


class TestGoldenLocal(CleanEstimatorContract):
    def make(self, points):
        return make_estimator("golden-local", points)


class TestIndexed(CleanEstimatorContract):
    """With a sample and a budget that are far smaller than the data."""

    def make(self, points):
        from hwsearch.analytical import IndexedEstimator

        return IndexedEstimator(points, pool=120, budget=60, sample=80, cells=30)


def test_every_method_is_held_by_the_contract():
    assert list(METHODS) == ["optimal", "wiener", "local", "golden", "golden-local", "indexed"]


def test_an_unknown_method_is_named():
    with pytest.raises(UnknownNameError, match="unknown method 'goldn'; did you mean 'golden'"):
        make_estimator("goldn", None)


@pytest.mark.parametrize("method", METHODS)
def test_a_mapped_file_gives_what_memory_gives(method, tmp_path):
    points = small_points(count=120, size=48, dtype=np.float32, image_shape=(4, 4, 3))
    np.save(tmp_path / "points.npy", points.rows.reshape(-1, 4, 4, 3))
    mapped = map_points(tmp_path / "points.npy")
    assert isinstance(mapped.rows, np.memmap) and mapped.image_shape == (4, 4, 3)
    noisy = noisy_of(points)
    for level in (0.01, 0.7, 0.999):
        here = make_estimator(method, points).estimate(noisy, level)
        assert (make_estimator(method, mapped).estimate(noisy, level) == here).all()


@pytest.mark.parametrize("method", ["optimal", "wiener", "local", "golden"])
def test_the_order_of_points_does_not_matter(method):
    """Where nothing is drawn."""
    points = small_points(count=120, size=48, image_shape=(4, 4, 3))
    order = np.random.default_rng(0).permutation(len(points))
    mixed = checked_points("mixed", points.rows[order], points.image_shape)
    noisy = noisy_of(points)
    for level in (0.01, 0.7, 0.999):
        here = make_estimator(method, points).estimate(noisy, level)
        np.testing.assert_allclose(
            make_estimator(method, mixed).estimate(noisy, level), here, atol=1e-8
        )
