"""The exact solver against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from optuna.distributions import IntDistribution

from hwsearch.study.samplers.additive.encoding import ChoiceSpace
from hwsearch.study.samplers.additive.hypervolume import Staircase
from hwsearch.study.samplers.additive.knapsack import solve_front
from hwsearch.study.samplers.additive.loss_model.gaussian_process import swap_rows
from hwsearch.study.samplers.additive.loss_model.kernel import grams, swap_grams


@pytest.fixture
def space() -> ChoiceSpace:
    sizes = {f"g{i}": IntDistribution(0, 1 + i % 3) for i in range(6)}
    return ChoiceSpace.of(sizes, {}, 32)


@pytest.mark.parametrize("seed", range(5))
def test_front_is_exact_when_costs_lie_on_the_grid(space: ChoiceSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    loss = rng.random(space.columns)
    cost = rng.integers(0, 9, space.columns).astype(float)
    plans = space.enumerate()
    losses, costs = space.total(plans, loss), space.total(plans, cost)
    span = np.ptp(costs)
    front = solve_front(space, loss, cost, grid=int(span))
    for budget in range(int(costs.min()), int(costs.max()) + 1):
        inside = space.total(front, cost) <= budget
        got = space.total(front[inside], loss).min()
        assert got == pytest.approx(losses[costs <= budget].min())


@pytest.mark.parametrize("seed", range(5))
def test_budget_is_never_exceeded(space: ChoiceSpace, seed: int) -> None:
    rng = np.random.default_rng(seed)
    loss, cost = rng.random(space.columns), rng.random(space.columns)
    costs = space.total(space.enumerate(), cost)
    for budget in np.quantile(costs, [0.0, 0.1, 0.5, 0.9]):
        front = solve_front(space, loss, cost, float(budget), grid=50)
        assert len(front) and space.total(front, cost).max() <= budget + 1e-6
    assert len(solve_front(space, loss, cost, float(costs.min()) - 0.1)) == 0


def test_gain_is_the_hypervolume_difference() -> None:
    stairs = Staircase.of(np.array([1.0, 2.0]), np.array([3.0, 1.0]), 0.0, 4.0, 5.0)
    costs = np.array([[0.5], [1.5], [3.0]])
    gain = stairs.gain(costs, np.array([[4.0], [2.0], [0.0]]))
    np.testing.assert_allclose(gain[:, 0], [0.5, 0.5, 1.0])
    assert stairs.gain(np.array([[2.5]]), np.array([[1.5]]))[0, 0] == 0.0


def test_swap_grams_equal_grams_of_the_swapped_plans(space: ChoiceSpace) -> None:
    rng = np.random.default_rng(0)
    rows, sizes = rng.integers(space.sizes, size=(9, 6)), rng.random(space.columns)
    slow = grams(space, sizes, rows, swap_rows(space, rows[4]))
    fast = swap_grams(space, sizes, rows, rows[4])
    for name in ("linear", "apart", "equal", "apart2", "equal2"):
        np.testing.assert_allclose(getattr(fast, name), getattr(slow, name), atol=1e-12)
