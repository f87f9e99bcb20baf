import pytest

from hwsearch.analytical import METHODS, make_estimator
from hwsearch.errors import UnknownNameError
from hwsearch.testing import CleanEstimatorContract


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
