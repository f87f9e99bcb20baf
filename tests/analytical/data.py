"""Small points that tests share."""

import numpy as np

from hwsearch.analytical.points import checked_points


def small_points(count=200, size=12, seed=0, dtype=np.float64, image_shape=None):
    """Points that lie near a plane of four dimensions."""
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, 4)) @ rng.standard_normal((4, size)) / 2 + 0.3
    rows += 0.1 * rng.standard_normal((count, size))
    return checked_points("small", rows.astype(dtype), image_shape)


def noisy_of(points, batch=5, seed=1):
    """Noisy points: anything goes."""
    return np.random.default_rng(seed).standard_normal((batch, points.size))


def by_hand(noisy, rows, alpha_bar):
    """The posterior's weights, each distance written out."""
    distances = ((noisy[:, None] - np.sqrt(alpha_bar) * rows[None]) ** 2).sum(axis=2)
    logits = -distances / (2.0 * (1.0 - alpha_bar))
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return weights / weights.sum(axis=1, keepdims=True)
