"""The contract of a clean estimator, as tests to inherit.

class TestMine(CleanEstimatorContract):
    def make(self, points):
        return MyEstimator(points)
"""

from __future__ import annotations

import numpy as np

from hwsearch.analytical.estimator import CleanEstimator, Floats, add_noise
from hwsearch.analytical.points import PointSet, checked_points
from hwsearch.errors import InputError

#: Alpha-bars from noise to nearly clean.
LEVELS = (1e-4, 0.1, 0.5, 0.9, 0.999)


class CleanEstimatorContract:
    """What a sampler relies on. Inherit it, write `make`, and let pytest find the tests.

    Holds that shapes and types are kept, that points of a batch do not know of each other, that nothing
    is remembered or changed, that noise that is hardly there is taken away, and what is refused.
    """

    def make(self, points: PointSet) -> CleanEstimator:
        """The estimator of some points."""
        raise NotImplementedError("return the estimator to test")

    def points(self) -> PointSet:
        """Small images, which are smooth."""
        rng = np.random.default_rng(0)
        rows = rng.standard_normal((240, 5)) @ rng.standard_normal((5, 48)) / 4
        rows += 0.05 * rng.standard_normal((240, 48))
        return checked_points("small", rows.astype(np.float32), (4, 4, 3))

    def test_shape_and_type_are_kept_and_all_is_finite(self) -> None:
        """At every level, for batches of one and of several, in single and double precision."""
        points = self.points()
        estimator = self.make(points)
        assert estimator.size == points.size
        for alpha_bar in LEVELS:
            for batch, dtype in ((1, np.float32), (3, np.float64)):
                noisy = self._noisy(points, alpha_bar, batch).astype(np.dtype(dtype))
                clean = estimator.estimate(noisy, alpha_bar)
                assert clean.shape == noisy.shape
                assert clean.dtype == dtype
                assert np.isfinite(clean).all()

    def test_points_of_a_batch_do_not_know_of_each_other(self) -> None:
        """A batch gives what its points give one by one."""
        points = self.points()
        estimator = self.make(points)
        for alpha_bar in LEVELS:
            noisy = self._noisy(points, alpha_bar, 4)
            together = estimator.estimate(noisy, alpha_bar)
            alone = [estimator.estimate(noisy[i : i + 1], alpha_bar)[0] for i in range(len(noisy))]
            np.testing.assert_allclose(together, np.stack(alone), atol=2e-4)

    def test_nothing_is_remembered_or_changed(self) -> None:
        """The same input gives the same, whatever was asked between; neither it nor the data change."""
        points = self.points()
        rows = points.rows.copy()
        estimator = self.make(points)
        noisy = self._noisy(points, 0.5, 3)
        before = noisy.copy()
        first = estimator.estimate(noisy, 0.5)
        estimator.estimate(self._noisy(points, 0.9, 2), 0.9)
        assert (estimator.estimate(noisy, 0.5) == first).all()
        assert (noisy == before).all()
        assert (points.rows == rows).all()

    def test_hardly_any_noise_is_taken_away(self) -> None:
        """A data point with very little noise comes back."""
        points = self.points()
        noisy = self._noisy(points, 1.0 - 1e-6, 5)
        clean = self.make(points).estimate(noisy, 1.0 - 1e-6)
        assert np.abs(clean - points.rows[:5]).max() < 0.01

    def test_noise_is_taken_away(self) -> None:
        """At middling noise the guess is nearer to the clean point than the noisy one is."""
        points = self.points()
        noisy = self._noisy(points, 0.5, 16)
        clean = self.make(points).estimate(noisy, 0.5)
        guessed = ((clean - points.rows[:16]) ** 2).mean()
        assert guessed < 0.3 * ((noisy - points.rows[:16]) ** 2).mean()

    def test_what_cannot_be_is_refused(self) -> None:
        """Alpha-bars outside of 0 to 1, and points of another shape or that are no numbers."""
        import pytest

        points = self.points()
        estimator = self.make(points)
        noisy = self._noisy(points, 0.5, 2)
        for alpha_bar in (0.0, 1.0, -0.5, 2.0, float("nan")):
            with pytest.raises(InputError, match="alpha-bar must lie between 0 and 1"):
                estimator.estimate(noisy, alpha_bar)
        for wrong in (noisy[0], noisy[:, :-1], np.concatenate([noisy, noisy], axis=1)):
            with pytest.raises(InputError, match=r"must have the shape \[batch, 48\]"):
                estimator.estimate(wrong, 0.5)
        for number in (np.nan, np.inf):
            broken = noisy.copy()
            broken[1, 3] = number
            with pytest.raises(InputError, match="NaN or infinity"):
                estimator.estimate(broken, 0.5)

    def _noisy(self, points: PointSet, alpha_bar: float, batch: int) -> Floats:
        return add_noise(np.asarray(points.rows[:batch]), alpha_bar, np.random.default_rng(1))
