import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hwsearch.analytical.golden.inclusion import (
    DEFENSIVE,
    WHOLE,
    expected_counts,
    first_of_cells,
    systematic_counts,
)


@settings(deadline=None, max_examples=100)
@given(
    seed=st.integers(0, 10_000),
    cells=st.integers(1, 30),
    budget=st.integers(1, 400),
    peak=st.floats(0.1, 400),
)
@example(seed=269, cells=28, budget=32, peak=41.0)  # 9 of 9 after a sum of almost a half
def test_a_budget_goes_to_the_nearest_whole_and_to_others_by_mass(seed, cells, budget, peak):
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 40, cells)
    logs = peak * rng.standard_normal(cells)
    masses = np.exp(logs - logs.max())
    nearness = rng.permutation(cells).astype(float)
    expected = expected_counts(nearness, masses, sizes, budget)
    assert (expected <= sizes + 1e-9).all() and (expected > 0).all()
    if budget >= sizes.sum():
        assert (expected == sizes).all()
    assert expected.sum() <= budget + 1e-6 or budget >= sizes.sum()
    order = np.argsort(-nearness)
    near = order[np.cumsum(sizes[order]) <= WHOLE * budget]
    assert (expected[near] == sizes[near]).all()
    rates = expected / masses.clip(1e-300)
    heavy = (masses > 1e-3) & (expected < sizes) & ~np.isin(np.arange(cells), near)
    even = DEFENSIVE * sizes / sizes.sum() * (budget - sizes[near].sum())
    if heavy.sum() > 1:  # but for what is spread evenly, the same for the same mass
        rates = (expected - even)[heavy] / masses[heavy]
        np.testing.assert_allclose(rates, rates[0], rtol=1e-6)
    counts = systematic_counts(expected)
    assert (np.floor(expected) <= counts).all() and (counts <= np.ceil(expected)).all()
    assert (counts <= sizes).all() and (counts >= 0).all()


def test_masses_that_are_all_nothing_leave_an_even_sample():
    sizes = np.array([10, 30, 60])
    expected = expected_counts(np.array([-1.0, 0.0, -2.0]), np.zeros(3), sizes, 50)
    np.testing.assert_allclose(expected, 50 * sizes / 100)


def test_the_first_points_of_cells():
    starts = np.array([0, 3, 3, 10, 12])
    found = first_of_cells(np.array([2, 0, 3, 1]), starts[:-1])
    assert found.tolist() == [0, 1, 3, 4, 5, 10]
