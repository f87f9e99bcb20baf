import numpy as np

from hwsearch.analytical.golden.cells import CellIndex
from hwsearch.analytical.golden.proxies import PrincipalCoordinates
from hwsearch.analytical.points import PointSet
from hwsearch.analytical.wiener import WienerEstimator
from tests.analytical.data import by_hand, noisy_of, small_points


def built(points, cells=12, axes=4):
    proxy = PrincipalCoordinates.of(WienerEstimator.fit(points), axes, points.rows.dtype)
    return CellIndex.build(points, proxy, cells)


def test_cells_hold_every_point_once_and_say_where_they_lie():
    points = small_points(count=300)
    index = built(points)
    assert index.starts[0] == 0 and index.starts[-1] == 300 and (index.sizes > 0).all()
    rows = index.points.rows
    assert (np.sort(rows, axis=0) == np.sort(points.rows, axis=0)).all()
    for cell in range(len(index.sizes)):
        there = slice(index.starts[cell], index.starts[cell + 1])
        inside = index.proxy.project(rows[there])
        np.testing.assert_allclose(index.proxies[there], inside, atol=1e-9)
        np.testing.assert_allclose(index.centres[cell], inside.mean(axis=0), atol=1e-9)
        np.testing.assert_allclose(index.widths[cell], inside.var(axis=0).mean(), atol=1e-9)


def test_masses_are_about_what_cells_hold_of_the_posterior():
    """Where proxies tell all, and cells are small beside the noise."""
    rng = np.random.default_rng(0)
    points = PointSet("round", rng.standard_normal((4000, 3)))
    index = built(points, cells=80, axes=3)
    noisy, level = noisy_of(points, batch=8), 0.4
    weights = by_hand(noisy, index.points.rows, level)
    wanted = np.add.reduceat(weights, index.starts[:-1], axis=1)
    nearness, found = index.look_up(index.proxy.project(noisy), level)
    np.testing.assert_allclose(found.sum(axis=1), 1.0)
    assert 0.5 * np.abs(found - wanted).sum(axis=1).max() < 0.03
    centres = np.sqrt(level) * index.centres
    away = ((index.proxy.project(noisy)[:, None] - centres) ** 2).sum(axis=2)
    np.testing.assert_allclose(nearness, -away, atol=1e-9)


def test_the_beginning_of_a_cell_is_a_sample_of_it():
    """Not the points that came first in the data, which may be sorted."""
    rows = np.sort(np.random.default_rng(0).standard_normal((400, 1)), axis=0)
    index = built(PointSet("sorted", rows), cells=1, axes=1)
    first = index.points.rows[:200, 0]
    assert abs(first.mean() - rows.mean()) < 0.2
    assert (np.diff(first) < 0).any()
