"""How many points a posterior really averages, from level to level of noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsearch.analytical.estimator import Floats, add_noise
from hwsearch.analytical.posterior import PointPosterior
from hwsearch.progress import each


@dataclass(frozen=True, eq=False)
class PosteriorConcentration:
    """The posterior over all points at one level of noise.

    Attributes:
        alpha_bar: the level.
        points: how many points there are.
        effective_points: ``1 / sum w^2`` for each noisy point, from 1 to `points`.
        entropy: ``-sum w log w`` for each noisy point, in nats.
    """

    alpha_bar: float
    points: int
    effective_points: Floats
    entropy: Floats

    def document(self) -> dict[str, float]:
        """Medians and quartiles over the noisy points, as plain data."""
        low, middle, high = np.quantile(self.effective_points, [0.25, 0.5, 0.75])
        return {
            "alpha_bar": self.alpha_bar,
            "sigma": float(np.sqrt(1.0 - self.alpha_bar)),
            "effective_points": float(middle),
            "effective_points_low": float(low),
            "effective_points_high": float(high),
            "effective_share": float(middle / self.points),
            "entropy_nats": float(np.median(self.entropy)),
        }


def measure_concentration(
    posterior: PointPosterior, clean: Floats, levels: Sequence[float], seed: int = 0
) -> list[PosteriorConcentration]:
    """Concentration at each level, for clean points with noise added.

    Args:
        posterior: over the data.
        clean: points ``[queries, size]``; held out, or the posterior finds them themselves.
        levels: alpha-bars.
        seed: of the noise.
    """
    found = []
    for place in each(range(len(levels)), "posterior", len(levels)):
        noisy = add_noise(clean, levels[place], np.random.default_rng([seed, place]))
        softmax = posterior.softmax(noisy, levels[place])
        found.append(
            PosteriorConcentration(
                alpha_bar=levels[place],
                points=len(posterior.points),
                effective_points=softmax.effective_points(),
                entropy=softmax.entropy(),
            )
        )
    return found
