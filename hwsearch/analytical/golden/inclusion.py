"""Sampling with unequal probabilities: how many points of each cell are looked at."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwsearch.analytical.estimator import Floats

#: Share of a budget that is spread evenly over all points, so that no weight is ever huge where the
#: masses of cells are wrong (a defensive mixture: Hesterberg 1995).
DEFENSIVE = 0.1


def expected_counts(masses: Floats, sizes: NDArray[np.int64], budget: int) -> Floats:
    """Points to look at in each cell: in proportion to its mass, and at most all that it holds.

    What a full cell cannot take goes to the others.

    Args:
        masses: ``[cells]``, sum 1.
        sizes: ``[cells]``, points of each.
        budget: points in all.

    Returns:
        ``[cells]``, sum `budget`; or `sizes` where there are no more points than that.
    """
    total = int(sizes.sum())
    if budget >= total:
        return sizes.astype(np.float64)
    wanted = (1.0 - DEFENSIVE) * masses + DEFENSIVE * sizes / total
    order = np.argsort(sizes / wanted)  # those that are full first
    held, asked = sizes[order], wanted[order]
    left = budget - (np.cumsum(held) - held)  # for this cell and those after it
    below = asked.sum() - (np.cumsum(asked) - asked)
    full = held * below <= left * asked
    count = len(full) if full.all() else int(np.argmin(full))
    factor = left[count] / below[count] if count < len(full) else 0.0
    found = np.empty(len(sizes))
    found[order[:count]] = held[:count]
    found[order[count:]] = factor * asked[count:]
    return found


def systematic_counts(expected: Floats) -> NDArray[np.int64]:
    """Whole numbers whose running sums are those of `expected`, rounded.

    Each is the number below or above what is expected, and over a random start the expected is its mean.
    """
    ends = np.floor(np.cumsum(expected) + 0.5).astype(np.int64)
    return np.diff(ends, prepend=0)


def first_of_cells(counts: NDArray[np.int64], starts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of the first so many points of each cell."""
    cells = np.flatnonzero(counts)
    taken = counts[cells]
    before = np.cumsum(taken) - taken
    return np.repeat(starts[cells] - before, taken) + np.arange(int(taken.sum()))
