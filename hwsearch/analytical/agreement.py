"""How well denoised points agree with others."""

from __future__ import annotations

import numpy as np

from hwsearch.analytical.estimator import Floats


def r_squared(found: Floats, wanted: Floats) -> Floats:
    """GoldDiff's r^2 for each point: 1 less the squared error over the variance among its own numbers.

    A constant image has no variance; its error counts as it is, as in the authors' code.

    Args:
        found: ``[batch, size]``.
        wanted: the same.
    """
    wanted = wanted.astype(np.float64)
    spread = wanted.var(axis=1, ddof=1)
    error = ((found - wanted) ** 2).mean(axis=1)
    return np.asarray(1.0 - error / np.where(spread == 0.0, 1.0, spread))


def pooled_r_squared(found: Floats, wanted: Floats) -> float:
    """1 less the squared error over the variance of `wanted` around its mean point.

    Stricter than `r_squared` where noise is high: there all denoised points are nearly the data's mean,
    and only what tells them apart counts. Where nothing does, errors count as they are.

    Args:
        found: ``[batch, size]``, at least two points.
        wanted: the same.
    """
    wanted = wanted.astype(np.float64)
    spread = ((wanted - wanted.mean(axis=0)) ** 2).sum()
    return float(1.0 - ((found - wanted) ** 2).sum() / (spread or 1.0))
