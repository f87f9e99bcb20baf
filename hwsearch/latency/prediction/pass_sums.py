"""From the passes of a generation to its time: lines of passes, and sums over passes and problems."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from hwsearch.decoding.passes import PassKind, PassShape
from hwsearch.latency.devices.costs import Group
from hwsearch.latency.devices.device import Calibration, Line, Power
from hwsearch.latency.operators import ShapeCounts, Workload
from hwsearch.latency.prediction.operator_sums import Part
from hwsearch.latency.prediction.uncertainty import Latency, Spread

#: Sums as they are: the lines of a device whose models were never run whole.
PLAIN_LINE = Line(intercept_ms=0.0, slope=1.0, mape=0.0, plans=2)


class Made(NamedTuple):
    """What a generation is made of, beside the time of its passes.

    Attributes:
        passes: how many there are.
        fills: how many of them fill the cache.
        forecast: the method that foresees after each; None where nothing is foreseen.
    """

    passes: float
    fills: float
    forecast: str | None = None


class PassLines:
    """How operator sums become the times of passes of any number of rows.

    Whole models were run by refreshes of all positions and by steps of a block. The line of a pass of
    other sizes is drawn between theirs, by the logarithm of its rows: caches and kernels change from the one
    to the other by proportions.

    Args:
        workload: of the passes that were run whole.
        calibration: their lines; None takes sums as they are.
    """

    def __init__(self, workload: Workload, calibration: Calibration | None) -> None:
        self._rows = (workload.decoding.block_length, workload.length)
        self._calibration = calibration
        self._step, self._refresh = PLAIN_LINE, PLAIN_LINE
        if calibration is not None:
            self._step, self._refresh = calibration.step, calibration.refresh
        self._last = None if calibration is None else calibration.generation
        self._costs = None if calibration is None else calibration.costs
        passes = None if calibration is None else calibration.passes
        self._timed_passes = passes or float(workload.decoding.steps)

    @property
    def generation_slope(self) -> float:
        """What a millisecond of predicted passes is worth in a generation."""
        return 1.0 if self._last is None else self._last.slope

    def weight(self, shape: PassShape, group: Group) -> float:
        """What a summed millisecond of a group is worth in a pass."""
        far = self._towards_refresh(shape)
        refresh, step = (line.slope * line.factor(group) for line in (self._refresh, self._step))
        return far * refresh + (1.0 - far) * step

    def intercept_ms(self, shape: PassShape) -> float:
        """Milliseconds of a pass beside its operators."""
        far = self._towards_refresh(shape)
        return far * self._refresh.intercept_ms + (1.0 - far) * self._step.intercept_ms

    def generation(self, passes_ms: Part, made: Made) -> Part:
        """A generation of passes that take so long together.

        Where generations of one length alone were run, what one costs beside its passes is shared out
        among those that were timed.
        """
        if self._last is None:
            return passes_ms
        beside = self._last.intercept_ms * made.passes / self._timed_passes
        if self._costs is not None:
            beside += self._costs.of(*made)
        slope = self._last.slope
        return Part(beside + slope * passes_ms.ms, slope * passes_ms.error_ms)

    def _towards_refresh(self, shape: PassShape) -> float:
        """0 for a step's rows, 1 for a refresh's, in between by their logarithms."""
        block, length = self._rows
        if shape.kind is PassKind.REFRESH or block == length:
            return 1.0
        far = math.log(shape.rows / block) / math.log(length / block)
        return min(1.0, max(0.0, far))


class GenerationSums:
    """Sums over the passes of a workload's generations.

    Args:
        counts: the shapes of passes, and how often each problem's generation makes them.
        tokens: of an answer, in the mean over problems.
        forecast: the method that foresees passes; None where nothing is foreseen.
    """

    def __init__(self, counts: ShapeCounts, tokens: float, forecast: str | None = None) -> None:
        self.shapes = list(counts)
        self._counts = np.stack(list(counts.values()), axis=1)
        self.means: list[float] = self._counts.mean(axis=0).tolist()
        self.passes = sum(self.means)
        self._forecast = forecast
        self._fills = np.array([shape.kind is not PassKind.STEP for shape in counts])
        self._by_kind = {
            kind: sum((m for s, m in zip(counts, self.means, strict=True) if s.kind is kind), 0.0)
            for kind in PassKind
        }
        self._tokens = tokens

    def latency(
        self, parts: Sequence[Part], lines: PassLines, spread: Spread, power: Power | None
    ) -> Latency:
        """Times of a plan.

        Args:
            parts: what each shape of pass takes.
            lines: how passes become a generation.
            spread: how far predictions may be off.
            power: of the device; None where nobody measured it.
        """
        refresh, step = self.mean(parts, PassKind.REFRESH), self.mean(parts)
        fills = float(np.array(self.means)[self._fills].sum())
        made = Made(self.passes, fills, self._forecast)
        generation = lines.generation(self.total(parts), made)
        return Latency(
            refresh_ms=refresh.ms,
            step_ms=step.ms,
            generation_ms=generation.ms,
            passes=self._by_kind,
            tokens=self._tokens,
            problems_ms=self.percentiles(parts, lines),
            generation_joules=None if power is None else power.joules(generation.ms),
            intervals_ms=spread.intervals(refresh, step, generation),
        )

    def mean(self, parts: Sequence[Part], kind: PassKind | None = None) -> Part:
        """The mean refresh, or the mean of all other passes; of all passes, where there are none.

        Args:
            parts: what each shape of pass takes.
            kind: `PassKind.REFRESH`; None takes the others.
        """
        is_refresh = [shape.kind is PassKind.REFRESH for shape in self.shapes]
        wanted = [found == (kind is PassKind.REFRESH) for found in is_refresh]
        if not any(wanted):
            wanted = [True] * len(wanted)
        chosen = [mean if want else 0.0 for mean, want in zip(self.means, wanted, strict=True)]
        return _added(parts, chosen).times(1.0 / sum(chosen))

    def total(self, parts: Sequence[Part]) -> Part:
        """All passes of a generation, in the mean over problems."""
        return _added(parts, self.means)

    def percentiles(self, parts: Sequence[Part], lines: PassLines) -> tuple[float, float]:
        """10th and 90th percentile of a generation's milliseconds over problems."""
        times = self._counts @ np.array([part.ms for part in parts])
        counts, fills = self._counts.sum(axis=1), self._counts[:, self._fills].sum(axis=1)
        generations = [
            lines.generation(Part(ms), Made(count, filled, self._forecast)).ms
            for ms, count, filled in zip(
                times.tolist(), counts.tolist(), fills.tolist(), strict=True
            )
        ]
        low, high = np.percentile(generations, (10, 90)).tolist()
        return low, high


def _added(parts: Sequence[Part], counts: Sequence[float]) -> Part:
    """Passes of several shapes together: they are made of the same operators, so errors add up."""
    pairs = list(zip(parts, counts, strict=True))
    return Part(
        sum(count * part.ms for part, count in pairs),
        sum(count * part.error_ms for part, count in pairs),
    )
