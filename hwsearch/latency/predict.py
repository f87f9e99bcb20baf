"""Plan + device -> milliseconds: the sum of a pass's operators, calibrated on whole-model runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from hwsearch.decoding.cache import kept_count
from hwsearch.denoisers.geometry import Geometry
from hwsearch.latency.device import Calibration, Device, Line
from hwsearch.latency.operators import (
    OpKey,
    Workload,
    layer_operators,
    refresh_operators,
    step_operators,
)
from hwsearch.latency.roofline import parts_of
from hwsearch.plan import CompressionPlan, LayerPlan


@dataclass(frozen=True)
class Latency:
    """Predicted times of a plan.

    Attributes:
        refresh_ms: one refresh pass.
        step_ms: one step pass.
        generation_ms: a whole generation of the workload.
        generation_joules: power times that; None where nobody measured the device's power.
    """

    refresh_ms: float
    step_ms: float
    generation_ms: float
    generation_joules: float | None = None


class Predictor:
    """Predicts plans of one model on one device, for one workload.

    Args:
        device: the device and what operators cost on it.
        geometry: the model's sizes.
        workload: what is generated.
        calibration: how sums become times; None takes the sums as they are.
    """

    def __init__(
        self,
        device: Device,
        geometry: Geometry,
        workload: Workload,
        calibration: Calibration | None = None,
    ) -> None:
        self.device = device
        self.geometry = geometry
        self.workload = workload
        self.calibration = calibration
        self._cost_us = cache(device.costs.cost_us)

    def predict(self, plan: CompressionPlan, kept_shares: Sequence[float]) -> Latency:
        """Milliseconds of a plan.

        Args:
            plan: what is done to each layer.
            kept_shares: share of cached positions that each layer keeps under the plan.

        Raises:
            MissingShapeError: the device cannot price an operator.
        """
        refresh, step = self.sums_ms(plan, kept_shares)
        if self.calibration is not None:
            refresh = _apply(self.calibration.refresh, refresh)
            step = _apply(self.calibration.step, step)
        decoding = self.workload.decoding
        steps = decoding.steps - decoding.refreshes
        total = decoding.refreshes * refresh + steps * step
        power = self.device.info.power
        joules = None if power is None else power.watts * total / 1e3
        return Latency(refresh, step, total, joules)

    def binding(
        self, plan: CompressionPlan, kept_shares: Sequence[float]
    ) -> tuple[str, str] | None:
        """What takes most of a refresh and of a step; None where a table has only the totals.

        Each is ``memory``, ``compute`` or ``overhead``.
        """
        roofline = self.device.info.roofline
        if roofline is None:
            return None
        parts = (self.geometry, plan, kept_shares, self.workload)
        refresh, step = refresh_operators(*parts), step_operators(*parts)
        return parts_of(roofline, refresh).binding, parts_of(roofline, step).binding

    def sums_ms(self, plan: CompressionPlan, kept_shares: Sequence[float]) -> tuple[float, float]:
        """Uncalibrated operator sums of a refresh and of a step."""
        parts = (self.geometry, plan, kept_shares, self.workload)
        return self._sum_ms(refresh_operators(*parts)), self._sum_ms(step_operators(*parts))

    def layer_ms(self, layer: LayerPlan, kept_share: float) -> float:
        """What one layer adds to a generation: exactly additive over layers."""
        work, decoding = self.workload, self.workload.decoding
        keys = kept_count(kept_share, work.outside) + decoding.block_length
        full = layer_operators(self.geometry, layer, work.length, work.length, kept_share < 1.0)
        block = layer_operators(self.geometry, layer, decoding.block_length, keys)
        slopes = (1.0, 1.0)
        if self.calibration is not None:
            slopes = (self.calibration.refresh.slope, self.calibration.step.slope)
        steps = decoding.steps - decoding.refreshes
        return decoding.refreshes * slopes[0] * self._sum_ms(full) + steps * slopes[
            1
        ] * self._sum_ms(block)

    def _sum_ms(self, operators: Counter[OpKey]) -> float:
        return sum(count * self._cost_us(key) for key, count in operators.items()) / 1e3


def _apply(line: Line, sum_ms: float) -> float:
    return line.intercept_ms + line.slope * sum_ms
