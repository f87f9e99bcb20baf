"""Monotone transforms of the loss under which it may be closer to additive."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsearch.study.samplers.additive.encoding import Floats


@dataclass(frozen=True)
class Warp:
    """A monotone map of the loss, fixed at zero and at one after scaling to [0, 1].

    ``bend`` > 0 stretches high losses (undoes saturation), < 0 compresses them (towards a
    logarithm), 0 leaves the loss as it is: ``z = (exp(bend·v) − 1) / (exp(bend) − 1)``.

    Attributes:
        low: loss that maps to 0.
        span: loss range that maps to 1.
        bend: curvature.
    """

    low: float
    span: float
    bend: float = 0.0

    @classmethod
    def over(cls, losses: Floats, bend: float) -> Warp:
        """The warp whose unit interval is the range of `losses`."""
        low, high = float(losses.min()), float(losses.max())
        return cls(low, max(high - low, 1e-12 * max(1.0, abs(high))), bend)

    def forward(self, losses: Floats) -> Floats:
        """Losses to the model's scale."""
        v = (losses - self.low) / self.span
        if self.bend == 0.0:
            return v
        bent: Floats = np.expm1(self.bend * np.clip(v, -5.0, 5.0)) / np.expm1(self.bend)
        return bent

    def inverse(self, z: Floats) -> Floats:
        """The model's scale to losses; values no loss maps to become the nearest one."""
        if self.bend == 0.0:
            return z * self.span + self.low
        inner = np.maximum(1.0 + z * np.expm1(self.bend), np.exp(-abs(self.bend) * 3.0))
        losses: Floats = np.log(inner) / self.bend * self.span + self.low
        return losses

    def spread(self, losses: Floats, spread: Floats) -> Floats:
        """Standard deviations of losses on the model's scale, [n]."""
        up, down = self.forward(losses + spread), self.forward(losses - spread)
        return (up - down) / 2

    def log_slope(self, losses: Floats) -> Floats:
        """Logarithm of the derivative with respect to the scaled loss, for likelihoods."""
        v = (losses - self.low) / self.span
        if self.bend == 0.0:
            return np.zeros_like(v)
        slope: Floats = np.log(self.bend / np.expm1(self.bend)) + self.bend * v
        return slope
