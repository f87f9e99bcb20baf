"""Plan + device -> milliseconds: the sum of a pass's operators, calibrated on whole-model runs.

A pass is a sum over layers, and a layer one over its projections (by format and kept heads), its mlp
(by format and kept channels) and its attention (by kept positions and heads). Each such part is
priced once, so that a plan costs a few look-ups. Where kept positions change within a generation,
a step is the mean over the generation's steps, which leaves every sum exact.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from hwsearch.decoding.cache import kept_count
from hwsearch.decoding.kept import KeptPlan
from hwsearch.denoisers.accounting import check_sizes
from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import MissingShapeError
from hwsearch.latency.devices.costs import Group, Sums
from hwsearch.latency.devices.device import Calibration, Device, Line
from hwsearch.latency.devices.roofline import parts_of
from hwsearch.latency.operators import (
    OpKey,
    Workload,
    ends,
    generation_operators,
    mixing,
    mlp,
    projections,
    step_operators,
)
from hwsearch.latency.phases import PLAIN, Caching
from hwsearch.latency.prediction.operator_sums import OperatorChoice, Part, total
from hwsearch.latency.prediction.uncertainty import Latency, Spread
from hwsearch.plan import LayerPlan, WeightFormat

__all__ = ["Latency", "Predictor"]


class Predictor:
    """Predicts plans of one model with cached passes on one device, for one workload.

    Idea: a pass is a sum of operators, so what a plan chooses in one layer adds the same whatever is
    chosen in the others. Steps: each choice is priced once by the device's table and weighed by its
    group's factor; the sums of a refresh and of a mean step go through the calibration's lines; a
    generation is refreshes and steps times these, through a line of its own.

    Limits: operators that a runtime runs at once, or fuses across parts, are no sum; whole-model runs
    show how much that is, and `hwsearch.latency.prediction.uncertainty` carries it along. Without a
    calibration, sums are taken as they are. A generation of a fixed number of passes is predicted.

    Source: sums of measured operators as in nn-Meter (Zhang et al., MobiSys 2021) and ProxylessNAS
    (arXiv 1812.00332); the line and the factors on top are measured in ``studies/latency-accuracy``.

    Args:
        device: the device and what operators cost on it.
        geometry: the model's sizes.
        workload: what is generated.
        calibration: how sums become times; None takes the sums as they are.

    Raises:
        InputError: how long a generation takes depends on its text.
    """

    def __init__(
        self,
        device: Device,
        geometry: Geometry,
        workload: Workload,
        calibration: Calibration | None = None,
    ) -> None:
        workload.check_predictable()
        self.device = device
        self.geometry = geometry
        self.workload = workload
        self.calibration = calibration
        self._parts: dict[OperatorChoice, tuple[Part, Part]] = {}
        self._spread = Spread.of(device, calibration)
        decoding = workload.decoding
        self._passes = (decoding.refreshes, decoding.steps - decoding.refreshes)

    def predict(self, plan: KeptPlan) -> Latency:
        """Milliseconds of a plan, with 10th and 90th percentiles where the error is known.

        Args:
            plan: what is done to each layer, and what it keeps.

        Raises:
            MissingShapeError: the device cannot price an operator.
            PlanError: a layer shall keep more heads or channels than there are.
        """
        refresh, step = self.pass_parts(plan)
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

    def energy_j(self, plan: KeptPlan) -> float:
        """Joules of a generation: power while a model ran, as measured, times predicted time.

        Raises:
            InputError: nobody measured or published the device's power.
            MissingShapeError: as `predict`.
        """
        return self.device.info.known_power.joules(self.predict(plan).generation_ms)

    def binding(self, plan: KeptPlan) -> tuple[str, str] | None:
        """What takes most of a refresh and of a step; None where the device cannot tell.

        Each is ``memory``, ``compute`` or ``overhead``. A device with a table takes the
        `Roofline.parts` of a fit to its table (`hwsearch.latency.prediction.roofline_fit`).
        """
        from hwsearch.latency.prediction.roofline_fit import roofline_behind

        roofline = roofline_behind(self.device)
        if roofline is None:
            return None
        parts = (self.geometry, plan, self.workload)
        refresh, step = generation_operators(*parts)
        step = step or step_operators(*parts)
        return parts_of(roofline, refresh).binding, parts_of(roofline, step).binding

    def sums_ms(self, plan: KeptPlan) -> tuple[Sums, Sums]:
        """Uncalibrated operator sums of a refresh and of a step, by group."""
        refresh: dict[Group, float] = defaultdict(float)
        step: dict[Group, float] = defaultdict(float)
        for choice, count in self._counted(plan).items():
            refresh[choice.group] += count * self._refresh(choice).ms
            step[choice.group] += count * self._step(choice).ms
        return refresh, step

    def layer_ms(self, layer: LayerPlan, kept_share: float, caching: Caching = PLAIN) -> float:
        """What one layer adds to a generation: exactly additive over layers."""
        return self.added_ms(layer_choices(layer, kept_share, caching))

    def layers_ms(self, plan: KeptPlan) -> list[float]:
        """What each layer of a plan adds to a generation."""
        return [self.added_ms(choices) for choices in self.choices(plan)]

    def choices(self, plan: KeptPlan) -> list[list[OperatorChoice]]:
        """The choices that make up each layer of a plan."""
        caching = Caching.of(plan.kept, self.workload.decoding)
        return [layer_choices(layer, share, caching) for layer, share in plan.layers()]

    def head_ms(self, head: WeightFormat) -> float:
        """What the last norm, the head and the choice of tokens add to a generation."""
        return self.added_ms([OperatorChoice("ends", head)])

    def added_ms(self, choices: Sequence[OperatorChoice]) -> float:
        """What some choices add to a generation."""
        refresh, step = self.added_by_pass_ms(choices)
        return refresh + step

    def added_by_pass_ms(self, choices: Sequence[OperatorChoice]) -> tuple[float, float]:
        """What some choices add to a generation by its refreshes, and by its steps."""
        pairs = [self._priced(choice) for choice in choices]
        sums = (sum(pair[0].ms for pair in pairs), sum(pair[1].ms for pair in pairs))
        slopes = (1.0, 1.0, 1.0) if self.calibration is None else self.calibration.slopes
        refresh, step = (
            slopes[2] * slopes[index] * count * sums[index]
            for index, count in enumerate(self._passes)
        )
        return refresh, step

    def pass_parts(self, plan: KeptPlan) -> tuple[Part, Part]:
        """A refresh and the mean step as operator sums with their standard errors.

        Groups are weighed as a calibration says; its lines are not applied.
        """
        counts = self._counted(plan)
        priced = [(self._priced(choice), count) for choice, count in counts.items()]
        refresh = total([pair[0].times(count) for pair, count in priced])
        return refresh, total([pair[1].times(count) for pair, count in priced])

    def _counted(self, plan: KeptPlan) -> Counter[OperatorChoice]:
        """All choices of a plan, and how often it makes each."""
        check_sizes(self.geometry, plan.plan)
        counts: Counter[OperatorChoice] = Counter([OperatorChoice("ends", plan.plan.head)])
        for choices in self.choices(plan):
            counts.update(choices)
        return counts

    def _priced(self, choice: OperatorChoice) -> tuple[Part, Part]:
        """What a choice adds to a refresh and to a step, weighed by what its group is worth."""
        found = self._parts.get(choice)
        if found is None:
            try:
                refresh, step = self._refresh(choice), self._step(choice)
            except MissingShapeError as error:
                raise self._with_option(error, choice) from error
            if self.calibration is not None:
                refresh = refresh.times(self.calibration.refresh.factor(choice.group))
                step = step.times(self.calibration.step.factor(choice.group))
            found = self._parts[choice] = (refresh, step)
        return found

    def _with_option(self, error: MissingShapeError, choice: OperatorChoice) -> MissingShapeError:
        """The error; the option that times a pruned size, where that is what is missing."""
        if choice.size is None:
            return error
        mlp, g = choice.part == "mlp", self.geometry
        share = choice.size / (g.intermediate_size if mlp else g.num_kv_heads)
        return MissingShapeError(f"{error} --kept-{'channels' if mlp else 'heads'} {share:.3g}")

    def _refresh(self, choice: OperatorChoice) -> Part:
        """What a choice adds to a refresh."""
        rows, costs = self.workload.length, self.device.costs
        if choice.part != "kept":
            return Part.of(self._products(choice, rows), costs)
        assert isinstance(choice.value, float), "what is kept is a share"
        signal, block = choice.caching.signal_for(choice.value), self.workload.decoding.block_length
        heads = self.geometry.keeping(choice.size)
        return Part.of(mixing(heads, rows, rows, signal, block), costs)

    def _step(self, choice: OperatorChoice) -> Part:
        """What a choice adds to a step, in the mean over the steps of a generation."""
        rows, costs = self.workload.decoding.block_length, self.device.costs
        if choice.part != "kept":
            return Part.of(self._products(choice, rows), costs)
        assert isinstance(choice.value, float), "what is kept is a share"
        heads, outside = self.geometry.keeping(choice.size), self.workload.outside
        return total(
            Part.of(mixing(heads, rows, kept_count(share, outside) + rows), costs).times(weight)
            for share, weight in choice.caching.shares_of(choice.value)
        )

    def _products(self, choice: OperatorChoice, rows: int) -> Counter[OpKey]:
        """Operators of a choice of a format on some rows; the ends run on the block's alone."""
        fmt = choice.format
        assert fmt is not None, "products have a format"
        if choice.part == "attention":
            return projections(self.geometry.keeping(choice.size), fmt, rows)
        if choice.part == "mlp":
            return mlp(self.geometry.keeping(kept_channels=choice.size), fmt, rows)
        return ends(self.geometry, fmt, self.workload.decoding.block_length)


def layer_choices(
    layer: LayerPlan, kept_share: float, caching: Caching = PLAIN
) -> list[OperatorChoice]:
    """The choices that make up a layer: its projections, its mlp, and what it keeps."""
    return [
        OperatorChoice("attention", layer.attention, layer.kept_heads),
        OperatorChoice("mlp", layer.mlp, layer.kept_channels),
        # layers that keep all positions are alike, however others choose theirs
        OperatorChoice(
            "kept", float(kept_share), layer.kept_heads, caching if kept_share < 1.0 else PLAIN
        ),
    ]


def _calibrated(line: Line | None, part: Part) -> Part:
    if line is None:
        return part
    return Part(line.intercept_ms + line.slope * part.ms, line.slope * part.error_ms)
