"""Accuracy under parallelism (AUP): one figure for how a decoding trades accuracy for parallelism.

d3LLM's measure (arXiv 2601.07568). A curve's points are tokens per forward pass ρ and accuracy y in
percent, in the order of ρ:

    ρ₁ y₁ + ½ Σ (ρᵢ − ρᵢ₋₁)(yᵢ Wᵢ + yᵢ₋₁ Wᵢ₋₁),   Wᵢ = min(exp(−3 (1 − yᵢ / y_max)), 1)

Points more than 5 below y₁ are left out. Where accuracy never falls below y_max, it is y_max times
the largest ρ.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from itertools import pairwise

#: How steeply lost accuracy counts, and how much of it, in percent, leaves a point out.
STEEPNESS, MOST_LOST = 3.0, 5.0


def accuracy_under_parallelism(
    points: Iterable[tuple[float, float]], best: float | None = None
) -> float:
    """The area under points (tokens per pass, accuracy in percent); `best` is y_max, else the points' own.

    >>> accuracy_under_parallelism([(1, 80), (2, 80)])
    160.0
    >>> round(accuracy_under_parallelism([(3, 78), (1, 80)]), 2)  # 80 + 80 + 78 exp(-3 * 2 / 80)
    232.36
    """
    ordered = sorted(points)
    first = ordered[0][1]
    kept = [(rate, accuracy) for rate, accuracy in ordered if accuracy >= first - MOST_LOST]
    top = max(accuracy for _, accuracy in kept) if best is None else best
    weighted = [
        (rate, accuracy * min(math.exp(-STEEPNESS * (1 - accuracy / top)), 1.0))
        for rate, accuracy in kept
    ]
    area = kept[0][0] * first
    for (before, low), (after, high) in pairwise(weighted):
        area += (after - before) * (low + high) / 2
    return area
