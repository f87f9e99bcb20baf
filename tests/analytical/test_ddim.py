import numpy as np
import pytest

from hwsearch.analytical import linear_schedule, sample_ddim, standard_noise
from hwsearch.analytical.wiener import WienerEstimator
from hwsearch.errors import InputError


def cloud():
    """A normal cloud that is known."""
    axes = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))[0]
    return WienerEstimator(np.array([1.0, -2.0, 0.5, 0.0]), axes, np.array([2.0, 1.0, 0.3, 0.01]))


def test_samples_of_a_normal_cloud_have_its_moments():
    found, _ = sample_ddim(cloud(), linear_schedule().levels(400), standard_noise(20_000, 4))
    np.testing.assert_allclose(found.mean(axis=0), cloud().mean, atol=0.05)
    along = (found - cloud().mean) @ cloud().axes
    np.testing.assert_allclose(along.var(axis=0), cloud().variances, rtol=0.06, atol=2e-3)
    np.testing.assert_allclose(np.corrcoef(along.T), np.eye(4), atol=0.03)


def test_every_step_is_the_formula():
    """DDIM of a normal cloud scales each axis by a product that can be written down."""
    levels = linear_schedule().levels(7)
    noise = standard_noise(50, 4).astype(np.float64)
    found, passed = sample_ddim(cloud(), levels, noise)
    assert len(passed) == 7 and (passed[0] == noise).all()
    scale = np.ones(4)
    shift = np.zeros(4)  # of x along the axes
    mean = cloud().mean @ cloud().axes
    for bar, after in zip(levels, [*levels[1:], 1.0], strict=True):
        gain = np.sqrt(bar) * cloud().variances / (bar * cloud().variances + 1 - bar)
        for_noise = np.sqrt((1 - after) / (1 - bar))
        clean = gain, mean - gain * np.sqrt(bar) * mean
        factor = np.sqrt(after) - for_noise * np.sqrt(bar)
        scale, shift = (
            factor * clean[0] * scale + for_noise * scale,
            factor * (clean[0] * shift + clean[1]) + for_noise * shift,
        )
    wanted = (noise @ cloud().axes * scale + shift) @ cloud().axes.T
    np.testing.assert_allclose(found, wanted, atol=1e-9)


@pytest.mark.parametrize("levels", [[], [0.5, 0.5], [0.5, 0.4]])
def test_levels_must_grow(levels):
    with pytest.raises(InputError, match="alpha-bars that grow from level to level"):
        sample_ddim(cloud(), levels, standard_noise(1, 4))
