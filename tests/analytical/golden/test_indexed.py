import numpy as np
import pytest

from hwsearch.analytical.agreement import pooled_r_squared
from hwsearch.analytical.datasets import mixture
from hwsearch.analytical.estimator import add_noise
from hwsearch.analytical.golden.indexed import IndexedEstimator
from hwsearch.analytical.noise import linear_schedule
from hwsearch.analytical.optimal import OptimalEstimator
from hwsearch.errors import InputError
from tests.analytical.data import noisy_of, small_points

LEVELS = linear_schedule().levels(12)


@pytest.mark.parametrize("level", LEVELS)
def test_a_budget_and_a_sample_of_all_points_give_the_optimal_denoiser(level):
    points = small_points(count=150)
    noisy = noisy_of(points)
    wanted = OptimalEstimator(points).estimate(noisy, level)
    for budget, sample in ((150, 20), (20, 150)):
        estimator = IndexedEstimator(points, pool=budget, budget=budget, sample=sample)
        if sample == 20:  # never by the sample
            estimator.broad_below = 0.0
        found = estimator.estimate_with_error(noisy, level)
        np.testing.assert_allclose(found.clean, wanted, atol=1e-8)
        np.testing.assert_allclose(found.standard_error, 0.0, atol=1e-8)


@pytest.fixture(scope="module")
def large():
    """Twenty thousand points, of which a part is looked at."""
    return mixture(20_000), mixture(48, seed=7)


@pytest.fixture(scope="module")
def estimators(large):
    indexed = IndexedEstimator(large[0], sample=6000)
    return OptimalEstimator(large[0]), indexed


@pytest.mark.parametrize("level", LEVELS)
def test_it_is_near_the_optimal_denoiser_at_every_level(level, large, estimators):
    noisy = add_noise(large[1].rows, level, np.random.default_rng(0))
    wanted, found = (estimator.estimate(noisy, level) for estimator in estimators)
    assert pooled_r_squared(found, wanted) > 0.99


def test_both_ways_are_taken(estimators):
    assert LEVELS[0] < estimators[1].broad_below < LEVELS[-3]


@pytest.mark.parametrize("level", [0.1, 0.3, 0.5, 0.7])
def test_it_knows_about_how_wrong_it_is(level, large, estimators):
    noisy = add_noise(large[1].rows, level, np.random.default_rng(0))
    found = estimators[1].estimate_with_error(noisy, level)
    wanted = estimators[0].estimate(noisy, level)
    errors = np.sqrt(((found.clean - wanted) ** 2).mean(axis=1))
    assert errors.mean() < 3 * found.standard_error.mean() + 1e-4


def test_more_points_are_nearer(large, estimators):
    level = 0.1
    noisy = add_noise(large[1].rows, level, np.random.default_rng(0))
    wanted = estimators[0].estimate(noisy, level)
    errors = []
    for count in (64, 512, 4096):
        estimators[1].pool = count
        errors.append(((estimators[1].estimate(noisy, level) - wanted) ** 2).mean())
    estimators[1].pool = 4096
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


@pytest.mark.parametrize("wrong", [{"pool": 1}, {"budget": 1}, {"sample": 0}])
def test_at_least_two_points_are_looked_at(wrong):
    with pytest.raises(InputError, match="at least 2 points are looked at"):
        IndexedEstimator(small_points(), **wrong)
