"""Sampling with unequal probabilities: which of many are looked at, and how probable that was."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwsearch.analytical.estimator import Floats

#: Share of a budget that goes to what is nearest, whole, whatever its mass: masses are often too sure.
WHOLE = 0.5

#: Share of the rest that is spread evenly over all points, so that no weight is ever huge where masses
#: are wrong (a defensive mixture: Hesterberg 1995).
DEFENSIVE = 0.1


def expected_counts(
    nearness: Floats, masses: Floats, sizes: NDArray[np.int64], budget: int
) -> Floats:
    """Points to look at in each cell: all of the nearest cells, then in proportion to mass.

    Args:
        nearness: ``[cells]``, of any scale.
        masses: ``[cells]``, not negative.
        sizes: ``[cells]``, points of each, at least one.
        budget: points in all.

    Returns:
        ``[cells]``, above 0 and at most `sizes`, sum at most `budget`; or `sizes` where there are no
        more points than that.
    """
    total = int(sizes.sum())
    if budget >= total:
        return sizes.astype(np.float64)
    first = _nearest(nearness, sizes, WHOLE * budget)
    masses = masses.astype(np.float64)
    masses[first] = 0.0
    others = masses.sum()
    share = (1.0 - DEFENSIVE) / others if others > 1e-200 else 0.0  # nothing is left of it
    wanted = share * masses + (1.0 - share * others) * sizes / total
    expected = np.minimum(wanted * (budget - sizes[first].sum()), sizes)
    expected[first] = sizes[first]
    return expected


def _nearest(nearness: Floats, sizes: NDArray[np.int64], budget: float) -> NDArray[np.intp]:
    """The nearest cells that together have at most `budget` points."""
    count = min(len(sizes), int(budget))  # every cell has a point
    if count == 0:
        return np.empty(0, dtype=np.intp)
    best = np.argpartition(nearness, len(nearness) - count)[len(nearness) - count :]
    if int(sizes[best].sum()) > budget:
        best = best[np.argsort(nearness[best])[::-1]]
        best = best[: int(np.searchsorted(np.cumsum(sizes[best]), budget, side="right"))]
    return best


def systematic_counts(expected: Floats) -> NDArray[np.int64]:
    """Whole numbers whose running sums are those of `expected`, rounded.

    Each is the number below or above what is expected, and over a random start the expected is its mean.
    """
    ends = np.floor(np.cumsum(expected) + 0.5)
    # a sum that lies a last digit below a half may end at one: a whole cell would get a point too many
    counts = np.clip(np.diff(ends, prepend=0.0), np.floor(expected), np.ceil(expected))
    return counts.astype(np.int64)


def first_of_cells(counts: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of the first so many points of each cell."""
    cells = np.flatnonzero(counts)
    taken = counts[cells]
    before = np.cumsum(taken) - taken
    return np.repeat(starts[cells] - before, taken) + np.arange(int(taken.sum()))
