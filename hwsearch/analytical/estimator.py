"""What is common to all that guess a clean point from a noisy one.

A diffusion model's noisy point is ``x_t = sqrt(abar) x_0 + sqrt(1 - abar) e`` with normal noise `e`; the
schedule's `abar` (alpha-bar) falls from nearly 1 to nearly 0 as noise grows. A sampler needs one thing of
a model: the expected clean point given the noisy one.
"""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import InputError

Floats: TypeAlias = NDArray[np.floating[Any]]


class CleanEstimator(Protocol):
    """Guesses clean points from noisy ones. `hwsearch.testing.CleanEstimatorContract` holds it.

    It is a pure function of what it is given: no state, and points of a batch do not know of each other.
    """

    @property
    def size(self) -> int:
        """Numbers in a point."""
        ...

    def estimate(self, noisy: Floats, alpha_bar: float) -> Floats:
        """The expected clean points.

        Args:
            noisy: points ``[batch, size]`` at the noise level.
            alpha_bar: share of the signal in a noisy point's variance, between 0 and 1.

        Raises:
            InputError: `alpha_bar` or `noisy` cannot be.
        """
        ...


def checked_alpha_bar(alpha_bar: float) -> float:
    """It, if it is between 0 and 1.

    >>> checked_alpha_bar(0.5)
    0.5

    Raises:
        InputError: it is not.
    """
    if not 0.0 < alpha_bar < 1.0:  # NaN, too
        raise InputError(
            f"alpha-bar must lie between 0 and 1, both excluded; got {alpha_bar:g}: take one of a "
            "noise schedule"
        )
    return float(alpha_bar)


def checked_noisy(noisy: Floats, size: int) -> Floats:
    """Noisy points, if they are finite numbers ``[batch, size]``.

    Raises:
        InputError: they are not.
    """
    noisy = np.asarray(noisy)
    if noisy.ndim != 2 or noisy.shape[1] != size:
        raise InputError(
            f"noisy points must have the shape [batch, {size}]; got {list(noisy.shape)}: "
            "flatten each point"
        )
    if not np.isfinite(noisy).all():
        raise InputError("noisy points must be finite numbers; these hold NaN or infinity")
    return noisy


def add_noise(
    clean: Floats, alpha_bar: float, rng: np.random.Generator
) -> NDArray[np.floating[Any]]:
    """Points ``[batch, size]`` at a noise level: ``sqrt(abar) x + sqrt(1 - abar) e``."""
    alpha_bar = checked_alpha_bar(alpha_bar)
    noise = rng.standard_normal(clean.shape)
    noisy = np.sqrt(alpha_bar) * clean + np.sqrt(1.0 - alpha_bar) * noise
    return noisy.astype(clean.dtype)
