"""How far a prediction may be off: 10th and 90th percentiles around it.

Two independent errors are carried through: that of the operators' medians, and the scatter of
whole-model runs about the calibration's line, which has the quantile of Student's t for as many
runs as there were. A published device has the errors of its checks instead, and beside them that of
passes of some rows, where most sources published one row and prompts only. A device
with neither has no percentiles: an interval that leaves out the larger error would mislead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from hwsearch.decoding.passes import PassKind
from hwsearch.latency.prediction.operator_sums import Part

if TYPE_CHECKING:
    from hwsearch.latency.devices.device import Calibration, Device, Line

#: The percentiles that are given.
LOW, HIGH = 10, 90

#: Root mean square error of published passes of 16 to 256 rows, on the two devices that have any
#: (the checks with ``held_out = "rows"``); a step of a masked-diffusion model is such a pass.
ROWS_ERROR = 0.083

Interval = tuple[float, float]


class Intervals(NamedTuple):
    """10th and 90th percentile of each time, in milliseconds."""

    refresh: Interval
    step: Interval
    generation: Interval


@dataclass(frozen=True)
class Latency:
    """Predicted times of a plan.

    Attributes:
        refresh_ms: one refresh pass; the mean over a generation, where they differ.
        step_ms: one of the other passes, in the mean alike.
        generation_ms: a whole generation of the workload; the mean over problems, where its passes
            depend on the text.
        generation_joules: power times that; None where nobody measured the device's power.
        intervals_ms: 10th and 90th percentile of each by the error of prediction; None where that is
            unknown.
        passes: passes of a generation by kind, in the mean over problems.
        tokens: tokens of an answer, likewise.
        problems_ms: 10th and 90th percentile of a generation over problems, by their passes.
    """

    refresh_ms: float
    step_ms: float
    generation_ms: float
    passes: Mapping[PassKind, float]
    tokens: float
    problems_ms: Interval
    generation_joules: float | None = None
    intervals_ms: Intervals | None = None

    @property
    def tokens_per_second(self) -> float:
        """Tokens of an answer by the time of a generation, both in the mean."""
        return 1e3 * self.tokens / self.generation_ms

    @property
    def tokens_per_pass(self) -> float:
        """Tokens of an answer by forward passes (TPF), both in the mean."""
        return self.tokens / sum(self.passes.values())


@dataclass(frozen=True)
class Spread:
    """Relative half-widths of refresh, step and generation beside the operators' own error.

    Idea: a prediction errs by its operators' medians and by how whole models scatter about their
    line, and the two are independent. Steps: the line's scatter gets the quantile of Student's t for
    as many runs as there were, the operators' standard error that of a normal; both are added in
    squares, in logarithms, since times are positive and errors relative.

    Limits: an interval is for plans like those that were run whole, on the machine as it was then. A
    device with neither runs nor checks has none. Source: prediction intervals of a regression, e.g.
    Draper and Smith, Applied Regression Analysis.

    Attributes:
        widths: distance of the 90th percentile from the median in logarithms; None where unknown.
        quantile: how many standard errors of an operator sum the 90th percentile is away.
    """

    widths: tuple[float, float, float] | None
    quantile: float = 1.2816

    @classmethod
    def of(cls, device: Device, calibration: Calibration | None) -> Spread:
        """What is known of a device's error on a model."""
        if calibration is not None:
            refresh, step, generation = calibration.lines
            known = (width(refresh), width(step))
            return cls((*known, max(known) if generation is None else width(generation)))
        checks = device.info.checks
        if not checks:
            return cls(None)
        square = sum(math.log1p(check.error) ** 2 for check in checks) / len(checks)
        return cls((cls.quantile * math.hypot(math.sqrt(square), ROWS_ERROR),) * 3)

    def intervals(self, refresh: Part, step: Part, generation: Part) -> Intervals | None:
        """Percentiles of three times; None where the error is unknown."""
        if self.widths is None:
            return None
        pairs = zip((refresh, step, generation), self.widths, strict=True)
        return Intervals(*(self._interval(part, known) for part, known in pairs))

    def _interval(self, part: Part, known: float) -> Interval:
        half = math.hypot(known, self.quantile * part.error_ms / part.ms)
        return part.ms * math.exp(-half), part.ms * math.exp(half)


def width(line: Line) -> float:
    """Distance of the 90th percentile from a line, as a share of the time it predicts.

    Student's t with the degrees of freedom that were left; the ``1 / plans`` is the line's own error
    in the middle of the plans it was fitted on.
    """
    from scipy.special import stdtrit

    return float(stdtrit(line.degrees, HIGH / 100)) * line.spread * math.sqrt(1 + 1 / line.plans)
