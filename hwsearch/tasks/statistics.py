"""How sure an accuracy is, and whether two models truly differ on the same problems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Interval(NamedTuple):
    """Ends of a confidence interval, both included."""

    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two models on the same problems.

    Attributes:
        difference: accuracy of the first minus accuracy of the second.
        interval: confidence interval of `difference`.
        p_value: exact McNemar test of "both are equally accurate".
        only_first: problems that only the first solved.
        only_second: problems that only the second solved.
        count: all problems.
    """

    difference: float
    interval: Interval
    p_value: float
    only_first: int
    only_second: int
    count: int


def wilson(successes: int, trials: int, level: float = 0.95) -> Interval:
    """Wilson's score interval of a proportion (E. B. Wilson, 1927).

    Raises:
        ValueError: `successes` is not in 0..`trials`, or there are no trials.
    """
    from scipy.stats import binomtest

    found = binomtest(successes, trials).proportion_ci(level, method="wilson")
    return Interval(float(found.low), float(found.high))


def compare(first: Sequence[bool], second: Sequence[bool], level: float = 0.95) -> Comparison:
    """Compare two models by which of the same problems each solved.

    The p value is McNemar's exact test: a two-sided sign test on the problems that one model
    alone solved. The interval is Newcombe's (Statistics in Medicine 17, 1998, method 10).

    Raises:
        ValueError: there are no problems, or the two sequences differ in length.
    """
    from scipy.stats import binomtest

    pairs = [(bool(a), bool(b)) for a, b in zip(first, second, strict=True)]
    if not pairs:
        raise ValueError("there must be a problem to compare on")
    both, only_first = pairs.count((True, True)), pairs.count((True, False))
    only_second, neither = pairs.count((False, True)), pairs.count((False, False))
    discordant = only_first + only_second
    return Comparison(
        difference=(only_first - only_second) / len(pairs),
        interval=_newcombe(both, only_first, only_second, neither, level),
        p_value=float(binomtest(only_first, discordant).pvalue) if discordant else 1.0,
        only_first=only_first,
        only_second=only_second,
        count=len(pairs),
    )


def _newcombe(a: int, b: int, c: int, d: int, level: float) -> Interval:
    """Interval of (a + b) / n - (a + c) / n for the paired counts of a two-by-two table.

    Squares and adds the distances of the two Wilson intervals, less their correlation.
    """
    n = a + b + c + d
    p1, p2 = (a + b) / n, (a + c) / n
    low1, high1 = wilson(a + b, n, level)
    low2, high2 = wilson(a + c, n, level)
    phi = _correlation(a, b, c, d)

    def distance(x: float, y: float) -> float:
        return math.sqrt(max(0.0, x * x - 2 * phi * x * y + y * y))

    return Interval(
        p1 - p2 - distance(p1 - low1, high2 - p2),
        p1 - p2 + distance(high1 - p1, p2 - low2),
    )


def _correlation(a: int, b: int, c: int, d: int) -> float:
    """Phi of a two-by-two table, shrunk by half a count where it is positive; 0 where undefined."""
    margins = (a + b) * (c + d) * (a + c) * (b + d)
    if margins == 0:
        return 0.0
    numerator = float(a * d - b * c)
    if numerator > 0:
        numerator = max(0.0, numerator - (a + b + c + d) / 2)
    return numerator / math.sqrt(margins)
