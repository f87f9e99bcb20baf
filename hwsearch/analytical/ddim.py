"""DDIM: from noise to a sample by a clean estimator, without new noise on the way."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from hwsearch.analytical.estimator import CleanEstimator, Floats, checked_alpha_bar
from hwsearch.errors import InputError
from hwsearch.progress import each


def sample_ddim(
    estimator: CleanEstimator, levels: Sequence[float], noise: Floats
) -> tuple[Floats, list[Floats]]:
    """Samples of an estimator (Song et al. 2021, equation 12, with eta 0), and the way to them.

    At each level the clean point is guessed, the noise that this leaves is taken as the truth, and both
    are mixed anew at the next level. The last guess is the sample.

    Args:
        estimator: guesses clean points.
        levels: alpha-bars, the noisiest first, as `NoiseSchedule.levels` gives them.
        noise: standard normal, ``[samples, size]``.

    Returns:
        The samples ``[samples, size]``, and the noisy points at each level.

    Raises:
        InputError: there are no levels, or they do not grow.
    """
    bars = [checked_alpha_bar(bar) for bar in levels]
    if not bars or any(later <= sooner for sooner, later in pairwise(bars)):
        raise InputError("sampling needs alpha-bars that grow from level to level, at least one")
    noisy, clean, passed = noise, noise, []
    for place in each(range(len(bars)), "sampling", len(bars)):
        bar = bars[place]
        passed.append(noisy)
        clean = estimator.estimate(noisy, bar)
        if place + 1 < len(bars):
            left = (noisy - np.sqrt(bar) * clean) / np.sqrt(1.0 - bar)
            after = bars[place + 1]
            noisy = (np.sqrt(after) * clean + np.sqrt(1.0 - after) * left).astype(noise.dtype)
    return clean, passed


def standard_noise(count: int, size: int, seed: int = 0) -> Floats:
    """Standard normal numbers ``[count, size]``, as float32."""
    return np.random.default_rng(seed).standard_normal((count, size)).astype(np.float32)
