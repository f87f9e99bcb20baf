"""What a plan is expected to add: hypervolume for two objectives, improvement under a budget."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsearch.study.samplers.additive.encoding import Floats

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(16)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class Staircase:
    """The best loss measured at each cost, as a step function up to a reference point.

    Attributes:
        costs: where the steps begin, ascending; the first is at or below every plan's cost.
        losses: loss from that cost on, strictly descending; the first is the reference loss.
        end: the reference cost.
    """

    costs: Floats
    losses: Floats
    end: float

    @classmethod
    def of(cls, costs: Floats, losses: Floats, start: float, end: float, worst: float) -> Staircase:
        """The staircase of the points below (`end`, `worst`)."""
        keep = (costs <= end) & (losses < worst)
        costs, losses = costs[keep], losses[keep]
        order = np.lexsort((losses, costs))
        costs, losses = costs[order], losses[order]
        best = np.minimum.accumulate(np.concatenate([[worst], losses]))
        front = losses < best[:-1]
        start = min(start, float(costs[0])) if len(costs) else start
        return cls(
            np.concatenate([[start], costs[front]]), np.concatenate([[worst], losses[front]]), end
        )

    def gain(self, costs: Floats, losses: Floats) -> Floats:
        """Hypervolume that points of these costs [n, 1] and losses [n, m] would add, [n, m]."""
        knots = np.append(self.costs, max(self.end, self.costs[-1]))
        area = np.concatenate([[0.0], np.cumsum(np.diff(knots) * self.losses)])
        stop = knots[np.searchsorted(-self.losses, -losses, side="left")]
        begin = np.clip(costs, knots[0], knots[-1])
        width = np.maximum(stop - begin, 0.0)
        covered = np.interp(np.maximum(stop, begin), knots, area) - np.interp(begin, knots, area)
        added: Floats = np.maximum(covered - losses * width, 0.0)
        return added

    def points(self) -> tuple[Floats, Floats]:
        """The measured points on the staircase: costs and losses."""
        return self.costs[1:], self.losses[1:]


def gaussian_nodes(mean: Floats, spread: Floats) -> Floats:
    """Quadrature nodes of normal distributions, [n, nodes]."""
    return mean[:, None] + spread[:, None] * _NODES


def expectation(values: Floats) -> Floats:
    """Expected value over `gaussian_nodes`, [n]."""
    return values @ _WEIGHTS
