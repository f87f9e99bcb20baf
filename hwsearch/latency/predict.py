"""Plan + device -> milliseconds: the sum of a pass's operators, calibrated on whole-model runs.

A pass is a sum over layers, and a layer one over its attention format, its mlp format and its kept
share. Each such part is priced once, so that a plan costs a few look-ups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from hwsearch.decoding.cache import kept_count
from hwsearch.decoding.kept import MASS_RULES
from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import PlanError
from hwsearch.latency.device import Calibration, Device, Line
from hwsearch.latency.operators import (
    OpKey,
    Workload,
    ends,
    mixing,
    mlp,
    projections,
    refresh_operators,
    step_operators,
)
from hwsearch.latency.parts import Choice, Part, total
from hwsearch.latency.roofline import parts_of
from hwsearch.latency.uncertainty import Latency, Spread
from hwsearch.plan import CompressionPlan, LayerPlan, WeightFormat

__all__ = ["Latency", "Predictor"]


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
        self._parts: dict[Choice, tuple[Part, Part]] = {}
        self._spread = Spread.of(device, calibration)
        decoding = workload.decoding
        self._passes = (decoding.refreshes, decoding.steps - decoding.refreshes)

    def predict(self, plan: CompressionPlan, kept_shares: Sequence[float]) -> Latency:
        """Milliseconds of a plan, with 10th and 90th percentiles where the error is known.

        Args:
            plan: what is done to each layer.
            kept_shares: share of cached positions that each layer keeps under the plan.

        Raises:
            MissingShapeError: the device cannot price an operator.
            PlanError: see `check_priceable`.
        """
        check_priceable(plan)
        refresh, step = self.pass_parts(plan, kept_shares)
        lines = (None, None, None) if self.calibration is None else self.calibration.lines
        refresh, step = _calibrated(lines[0], refresh), _calibrated(lines[1], step)
        weighted = [part.times(n) for part, n in zip((refresh, step), self._passes, strict=True)]
        generation = _calibrated(lines[2], total(weighted))
        power = self.device.info.power
        return Latency(
            refresh_ms=refresh.ms,
            step_ms=step.ms,
            generation_ms=generation.ms,
            generation_joules=None if power is None else power.joules(generation.ms),
            intervals_ms=self._spread.intervals(refresh, step, generation),
        )

    def energy_j(self, plan: CompressionPlan, kept_shares: Sequence[float]) -> float:
        """Joules of a generation: power while a model ran, as measured, times predicted time.

        Raises:
            InputError: nobody measured or published the device's power.
            MissingShapeError: as `predict`.
        """
        return self.device.info.known_power.joules(self.predict(plan, kept_shares).generation_ms)

    def binding(
        self, plan: CompressionPlan, kept_shares: Sequence[float]
    ) -> tuple[str, str] | None:
        """What takes most of a refresh and of a step; None where the device cannot tell.

        Each is ``memory``, ``compute`` or ``overhead``. A device with a table takes the
        `Roofline.parts` of a fit to its table (`hwsearch.latency.causes`).
        """
        from hwsearch.latency.causes import roofline_behind

        roofline = roofline_behind(self.device)
        if roofline is None:
            return None
        parts = (self.geometry, plan, kept_shares, self.workload)
        refresh, step = refresh_operators(*parts), step_operators(*parts)
        return parts_of(roofline, refresh).binding, parts_of(roofline, step).binding

    def sums_ms(self, plan: CompressionPlan, kept_shares: Sequence[float]) -> tuple[float, float]:
        """Uncalibrated operator sums of a refresh and of a step."""
        refresh, step = self.pass_parts(plan, kept_shares)
        return refresh.ms, step.ms

    def layer_ms(self, layer: LayerPlan, kept_share: float) -> float:
        """What one layer adds to a generation: exactly additive over layers."""
        return self.added_ms(layer_choices(layer, kept_share))

    def head_ms(self, head: WeightFormat) -> float:
        """What the last norm, the head and the choice of tokens add to a generation."""
        return self.added_ms([("ends", head)])

    def added_ms(self, choices: Sequence[Choice]) -> float:
        """What some choices add to a generation."""
        refresh, step = self.added_by_pass_ms(choices)
        return refresh + step

    def added_by_pass_ms(self, choices: Sequence[Choice]) -> tuple[float, float]:
        """What some choices add to a generation by its refreshes, and by its steps."""
        pairs = [self._priced(choice) for choice in choices]
        sums = (sum(pair[0].ms for pair in pairs), sum(pair[1].ms for pair in pairs))
        slopes = (1.0, 1.0, 1.0) if self.calibration is None else self.calibration.slopes
        refresh, step = (
            slopes[2] * slopes[index] * count * sums[index]
            for index, count in enumerate(self._passes)
        )
        return refresh, step

    def pass_parts(self, plan: CompressionPlan, kept_shares: Sequence[float]) -> tuple[Part, Part]:
        """A refresh and a step as operator sums with their standard errors."""
        counts: Counter[Choice] = Counter([("ends", plan.head)])
        for layer, share in zip(plan.layers, kept_shares, strict=True):
            counts.update(layer_choices(layer, share))
        priced = [(self._priced(choice), count) for choice, count in counts.items()]
        refresh = total([pair[0].times(count) for pair, count in priced])
        return refresh, total([pair[1].times(count) for pair, count in priced])

    def _priced(self, choice: Choice) -> tuple[Part, Part]:
        found = self._parts.get(choice)
        if found is None:
            found = self._parts[choice] = (self._part(choice, True), self._part(choice, False))
        return found

    def _part(self, choice: Choice, refresh: bool) -> Part:
        return Part.of(self._operators(choice, refresh), self.device.costs)

    def _operators(self, choice: Choice, refresh: bool) -> Counter[OpKey]:
        """Operators that a choice stands for in a refresh or in a step."""
        work, block = self.workload, self.workload.decoding.block_length
        rows = work.length if refresh else block
        if choice[0] == "attention":
            return projections(self.geometry, choice[1], rows)
        if choice[0] == "mlp":
            return mlp(self.geometry, choice[1], rows)
        if choice[0] == "ends":
            return ends(self.geometry, choice[1], block)
        keys = rows if refresh else kept_count(choice[1], work.outside) + rows
        return mixing(self.geometry, rows, keys, refresh and choice[1] < 1.0)


def check_priceable(plan: CompressionPlan) -> None:
    """Refuse what operator sums do not know yet, rather than price it as if it were not there.

    Raises:
        PlanError: heads or channels are pruned, or cached positions are chosen in another way than
            by running attention mass, all through a generation alike.
    """
    for index, layer in enumerate(plan.layers):
        if layer.kept_heads is not None or layer.kept_channels is not None:
            raise PlanError(
                f"layer {index}: times with kept_heads or kept_channels are measured, not "
                "predicted; export the plan and time its bundle (hwsearch baselines does)"
            )
    phased = (plan.cache.early_scale, plan.cache.late_scale) != (1.0, 1.0)
    prunes = any(layer.sink_threshold < 1.0 for layer in plan.layers)
    if prunes and (phased or not plan.cache.running or plan.cache.rule not in MASS_RULES):
        raise PlanError(
            f"times with cache rule {plan.cache.rule.value!r}, phases or calibrated scores are "
            "measured, not predicted; export the plan and time its bundle (hwsearch baselines does)"
        )


def layer_choices(layer: LayerPlan, kept_share: float) -> list[Choice]:
    """The choices that make up a layer."""
    return [("attention", layer.attention), ("mlp", layer.mlp), ("kept", kept_share)]


def _calibrated(line: Line | None, part: Part) -> Part:
    if line is None:
        return part
    return Part(line.intercept_ms + line.slope * part.ms, line.slope * part.error_ms)
