"""Attention-sink statistics as formulas of attention mass: pure numpy.

*Mass* ``m_t(i)`` is the attention probability that position i receives in pass t, summed over
queries (and over heads, where a layer is looked at as a whole). The *sinks* ``S_t`` of a pass are its
k heaviest positions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.cache import top_count
from hwsearch.errors import InputError

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

#: Sinks of a pass where nobody says how many.
TOP_K = 5


def sink_count(k: float, positions: int) -> int:
    """How many positions are sinks: `k` itself if whole, that share of the positions if a fraction.

    >>> sink_count(5, 40), sink_count(0.25, 40)
    (5, 10)

    Raises:
        InputError: `k` is no number from 1 to `positions` and no share in (0, 1).
    """
    if isinstance(k, float) and 0.0 < k < 1.0:
        return max(1, round(k * positions))
    if k != int(k) or k < 1:
        raise InputError(f"k must be a whole number from 1 up or a share between 0 and 1; got {k}")
    if k > positions:
        raise InputError(
            f"k = {int(k)} sinks were asked for, but a sequence has {positions} positions; "
            "give a smaller k, or a share such as 0.1"
        )
    return int(k)


def sinks_of(mass: NDArray[np.floating], k: float, valid: Flags | None = None) -> Flags:
    """Whether each position is a sink of a pass.

    Args:
        mass: ``[batch, ..., length]``.
        k: how many, as `sink_count` reads it.
        valid: ``[batch, length]``, False where a sequence is padded; None where none is.

    Raises:
        InputError: `k` is out of range for a sequence.
    """
    if valid is None:
        return top_count(mass, sink_count(k, mass.shape[-1]))
    spread = spread_over(valid, mass)
    shown = np.where(spread, mass, -np.inf)
    counts = [sink_count(k, int(row.sum())) for row in valid]
    return np.stack([top_count(row, count) for row, count in zip(shown, counts, strict=True)])


def centroid(mass: NDArray[np.floating], sinks: Flags) -> Floats:
    """Where a pass's sinks are, ``[...]``: ``c_t = sum_S i m_t(i) / sum_S m_t(i)`` (arXiv 2602.17664)."""
    weight = np.where(sinks, mass, 0.0).astype(np.float64)
    positions = np.arange(mass.shape[-1])
    return (weight * positions).sum(axis=-1) / np.maximum(weight.sum(axis=-1), 1e-30)


def mean_position(sinks: Flags) -> Floats:
    """Mean position of a pass's sinks, each counting once, ``[...]``."""
    positions = np.arange(sinks.shape[-1])
    return (sinks * positions).sum(axis=-1) / np.maximum(sinks.sum(axis=-1), 1)


def spatial_variance(mean_mass: Floats, valid: Flags | None = None) -> Floats:
    """``Var_i`` of the mean mass ``[batch, ..., length]`` over positions (arXiv 2602.17664)."""
    if valid is None:
        return mean_mass.var(axis=-1)
    spread = spread_over(valid, mean_mass)
    return np.var(mean_mass, axis=-1, where=spread)


def temporal_variance(centroids: Floats) -> Floats:
    """``Var_t`` of centroids ``[passes, ...]`` (arXiv 2602.17664)."""
    return centroids.var(axis=0)


def frequency(hits: NDArray[np.integer], passes: NDArray[np.integer] | int) -> Floats:
    """Share of the passes in which each position was a sink."""
    return hits / np.maximum(passes, 1)


def kept_by_variance(variance: Floats, threshold: float, valid: Flags | None = None) -> Flags:
    """Positions that stay when those with ``variance > threshold`` are pruned.

    Args:
        variance: ``1 - frequency``, ``[batch, ..., length]``.
        threshold: 1 keeps all.
        valid: ``[batch, length]``, False where a sequence is padded.

    Raises:
        InputError: the threshold is outside 0..1, or a row would be left with nothing to attend to.
    """
    if not 0.0 <= threshold <= 1.0:
        raise InputError(f"a threshold must be at least 0 and at most 1; got {threshold}")
    kept = variance <= threshold
    if valid is not None:
        kept &= spread_over(valid, variance)
    empty = np.argwhere(~kept.any(axis=-1))
    if len(empty):
        where = ", ".join(str(int(index)) for index in empty[0])
        raise InputError(
            f"threshold {threshold} leaves nothing to attend to in {len(empty)} rows, the first at "
            f"index ({where}); raise the threshold or count more positions as sinks (a larger k)"
        )
    return kept


def spread_over(valid: Flags, like: NDArray[np.generic]) -> Flags:
    """``valid [batch, length]`` with as many axes between as ``like [batch, ..., length]`` has."""
    shape = (valid.shape[0], *(1,) * (like.ndim - 2), valid.shape[1])
    return np.broadcast_to(valid.reshape(shape), like.shape)
