"""The posterior over data points given a noisy one, added up block by block.

By Bayes' rule a noisy point `x` came from the data point `x_i` with a probability in proportion to
``exp(-||x - sqrt(abar) x_i||^2 / (2 (1 - abar)))``: a softmax over the data. It is computed over blocks
with a running maximum, as attention kernels do, so memory does not grow with the data.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hwsearch.analytical.estimator import Floats, checked_alpha_bar, checked_noisy
from hwsearch.analytical.points import BLOCK, PointSet


class StreamingSoftmax:
    """Means and concentration of a softmax over rows that come in blocks.

    The largest logit so far is kept, and what was added up is rescaled when it grows, so no exponential
    overflows. After any order of blocks the results are the same, but for rounding.
    """

    def __init__(self, queries: int, size: int) -> None:
        self._top = np.full(queries, -np.inf)
        self._total = np.zeros(queries)
        self._squares = np.zeros(queries)
        self._products = np.zeros(queries)
        self._sums = np.zeros((queries, size))

    def add(self, logits: Floats, rows: Floats) -> None:
        """Take in a block.

        Args:
            logits: ``[queries, rows]``.
            rows: ``[rows, size]``.
        """
        top = np.maximum(self._top, logits.max(axis=1))
        with np.errstate(invalid="ignore"):
            fallen = np.where(np.isfinite(self._top), self._top - top, 0.0)
        shrunk = np.where(np.isfinite(self._top), np.exp(fallen), 0.0)
        below = logits - top[:, None].astype(logits.dtype)
        weights = np.exp(below)
        self._products = shrunk * (self._products + fallen * self._total) + np.einsum(
            "qr,qr->q", weights, below
        )
        self._total = shrunk * self._total + weights.sum(axis=1)
        self._squares = shrunk**2 * self._squares + np.einsum("qr,qr->q", weights, weights)
        self._sums = shrunk[:, None] * self._sums + weights @ rows
        self._top = top

    def mean(self) -> Floats:
        """Rows averaged by their weights, ``[queries, size]``."""
        return self._sums / self._total[:, None]

    def effective_points(self) -> Floats:
        """``1 / sum w^2`` for each query: how many points of equal weight would be as concentrated."""
        return self._total**2 / self._squares

    def entropy(self) -> Floats:
        """``-sum w log w`` for each query, in nats; never below 0."""
        return np.maximum(np.log(self._total) - self._products / self._total, 0.0)


class PointPosterior:
    """The posterior over a point set: what logits take that does not depend on the noisy point.

    Args:
        points: the data.
        block: rows that are looked at together.
    """

    def __init__(self, points: PointSet, block: int = BLOCK) -> None:
        self.points, self.block = points, block
        self.mean = points.mean(block).astype(points.rows.dtype)
        # distances do not change where all is moved by the mean, and rounding is less near 0
        squares = [((rows - self.mean) ** 2).sum(axis=1) for _, rows in points.blocks(block)]
        self.squares = np.concatenate(squares)

    def logits(
        self, noisy: Floats, alpha_bar: float, where: slice | NDArray[np.integer], rows: Floats
    ) -> Floats:
        """Logits ``[batch, rows]`` of some rows, but for a constant of each noisy point.

        Args:
            noisy: ``[batch, size]``.
            alpha_bar: between 0 and 1.
            where: which rows these are.
            rows: ``[rows, size]``.
        """
        return whole_logits(noisy, alpha_bar, rows, self.squares[where], self.mean)

    def softmax(self, noisy: Floats, alpha_bar: float) -> StreamingSoftmax:
        """The posterior of noisy points ``[batch, size]``, scanned over all the data.

        Raises:
            InputError: `alpha_bar` or `noisy` cannot be.
        """
        alpha_bar = checked_alpha_bar(alpha_bar)
        noisy = checked_noisy(noisy, self.points.size).astype(self.points.rows.dtype, copy=False)
        found = StreamingSoftmax(len(noisy), self.points.size)
        for where, rows in self.points.blocks(self.block):
            found.add(self.logits(noisy, alpha_bar, where, rows), rows)
        return found


def whole_logits(
    noisy: Floats, alpha_bar: float, rows: Floats, squares: Floats, mean: Floats
) -> Floats:
    """``-||x - sqrt(abar) x_i||^2 / (2 (1 - abar))`` for each noisy point and row, but for a constant
    of each noisy point.

    Args:
        noisy: ``[batch, size]``.
        alpha_bar: between 0 and 1.
        rows: ``[rows, size]``.
        squares: ``[rows]``, squared distances of the rows from `mean`.
        mean: ``[size]``, what all is moved by.
    """
    root = rows.dtype.type(np.sqrt(alpha_bar))
    spread = rows.dtype.type(1.0 / (1.0 - alpha_bar))
    moved = (noisy - root * mean) * (root * spread)
    return moved @ rows.T - (0.5 * root * root * spread) * squares
