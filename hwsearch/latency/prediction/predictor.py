"""Plan + device -> milliseconds: the sum of a pass's operators, calibrated on whole-model runs.

A pass is a sum over layers, and a layer one over the products of attention (by format and kept heads),
those of the mlp (by format and kept channels) and the mixing (by kept positions and heads). Each such
part is priced once, so that a plan costs a few look-ups. Where kept positions change within a generation,
a step is the mean over the generation's steps, which leaves every sum exact.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from copy import copy

from hwsearch.decoding.kept import KeptPlan
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.decoding.passes import PassKind, PassShape
from hwsearch.denoisers.accounting import check_sizes
from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import MissingShapeError
from hwsearch.latency.devices.costs import Group, Sums
from hwsearch.latency.devices.device import Calibration, Device
from hwsearch.latency.devices.roofline import parts_of
from hwsearch.latency.operators import (
    OpKey,
    Workload,
    ends,
    generation_operators,
    group_operators,
    keys_of,
    mixing,
)
from hwsearch.latency.phases import PLAIN, Caching
from hwsearch.latency.prediction.operator_sums import OperatorChoice, Part, total
from hwsearch.latency.prediction.pass_sums import GenerationSums, PassLines
from hwsearch.latency.prediction.uncertainty import Latency, Spread
from hwsearch.plan import (
    LINEAR_GROUPS,
    SHORT_FORMS,
    CompressionPlan,
    LayerPlan,
    WeightFormat,
    groups_of,
    short_of,
)

__all__ = ["Latency", "Predictor"]


class Predictor:
    """Predicts plans of one model with cached passes on one device, for one workload.

    Idea: a pass is a sum of operators, so what a plan chooses in one layer adds the same whatever is
    chosen in the others. Steps: each choice is priced once for each shape of pass by the device's
    table, weighed by its group's factor and its line's slope; a generation is its passes times these,
    through a line of its own. Where its passes depend on the text they were counted beforehand.

    Limits: operators that a runtime runs at once, or fuses across parts, are no sum; whole-model runs
    show how much that is, and `hwsearch.latency.prediction.uncertainty` carries it along. Without a
    calibration, sums are taken as they are. Passes of other numbers of rows than a refresh's and a
    step's were never run whole: their lines are drawn between these two.

    Source: sums of measured operators as in nn-Meter (Zhang et al., MobiSys 2021) and ProxylessNAS
    (arXiv 1812.00332); the line and the factors on top are measured in ``studies/latency-accuracy``.

    Args:
        device: the device and what operators cost on it.
        geometry: the model's sizes.
        workload: what is generated.
        calibration: how sums become times; None takes the sums as they are.

    Raises:
        InputError: a generation's passes depend on its text, and the workload has not counted them.
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
        self._lines = PassLines(workload, calibration)
        self._raw: dict[tuple[OperatorChoice, PassShape], Part] = {}
        self._parts: dict[OperatorChoice, tuple[Part, ...]] = {}
        self._spread = Spread.of(device, calibration)
        self._generations = self._sums_of(workload)

    def given(self, passes: PassCounts) -> Predictor:
        """The same for other passes; what both have priced is priced once."""
        found = copy(self)
        found.workload = self.workload.counting(passes)
        found._parts = {}
        found._generations = self._sums_of(found.workload)
        return found

    def _sums_of(self, workload: Workload) -> GenerationSums:
        counts = workload.counts_by_shape(self.geometry)
        return GenerationSums(counts, workload.passes.mean_tokens, workload.forecast)

    def predict(self, plan: KeptPlan) -> Latency:
        """Milliseconds of a plan, with 10th and 90th percentiles where the error is known.

        Args:
            plan: what is done to each layer, and what it keeps.

        Raises:
            MissingShapeError: the device cannot price an operator.
            PlanError: a layer shall keep more heads or channels than there are.
        """
        power = self.device.info.power
        return self._generations.latency(self._pass_parts(plan), self._lines, self._spread, power)

    def energy_j(self, plan: KeptPlan) -> float:
        """Joules of a generation: power while a model ran, as measured, times predicted time.

        Raises:
            InputError: nobody measured or published the device's power.
            MissingShapeError: as `predict`.
        """
        return self.device.info.known_power.joules(self.predict(plan).generation_ms)

    @property
    def forecast_ms(self) -> float | None:
        """What forecasts add to a generation: 0 where nothing is foreseen, None where that has no price."""
        method = self.workload.forecast
        costs = None if self.calibration is None else self.calibration.costs
        if method is None:
            return 0.0
        if costs is None or method not in costs.forecast_ms:
            return None
        return costs.forecast_ms[method] * self._generations.passes

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
        return parts_of(roofline, refresh).binding, parts_of(roofline, step or refresh).binding

    def sums_ms(self, plan: KeptPlan) -> tuple[Sums, Sums]:
        """Uncalibrated operator sums of the mean refresh and of the mean other pass, by group."""
        refresh: dict[Group, float] = defaultdict(float)
        step: dict[Group, float] = defaultdict(float)
        sums = self._generations
        for choice, count in self._counted(plan).items():
            raw = [self._of_shape(choice, shape) for shape in sums.shapes]
            refresh[choice.group] += count * sums.mean(raw, PassKind.REFRESH).ms
            step[choice.group] += count * sums.mean(raw).ms
        return refresh, step

    def layer_ms(self, layer: LayerPlan, kept_share: float, caching: Caching = PLAIN) -> float:
        """What one layer adds to a generation: exactly additive over layers."""
        return self.added_ms(layer_choices(layer, kept_share, caching))

    def layers_ms(self, plan: KeptPlan) -> list[float]:
        """What each layer of a plan adds to a generation."""
        return [self.added_ms(choices) for choices in self.choices(plan)]

    def choices(self, plan: KeptPlan) -> list[list[OperatorChoice]]:
        """The choices that make up each layer of a plan."""
        caching = Caching.of(plan.kept, self.workload.passes.steps_after)
        groups = _told_apart(plan.plan)
        return [layer_choices(layer, share, caching, groups) for layer, share in plan.layers()]

    def head_ms(self, head: WeightFormat) -> float:
        """What the last norm, the head and the choice of tokens add to a generation."""
        return self.added_ms([OperatorChoice("ends", head)])

    def added_ms(self, choices: Sequence[OperatorChoice]) -> float:
        """What some choices add to a generation."""
        refresh, step = self.added_by_pass_ms(choices)
        return refresh + step

    def added_by_pass_ms(self, choices: Sequence[OperatorChoice]) -> tuple[float, float]:
        """What some choices add to a generation by its refreshes, and by its other passes."""
        added = [0.0, 0.0]
        slope = self._lines.generation_slope
        for choice in choices:
            for shape, mean, part in zip(
                self._generations.shapes,
                self._generations.means,
                self._priced(choice),
                strict=True,
            ):
                added[shape.kind is not PassKind.REFRESH] += slope * mean * part.ms
        return added[0], added[1]

    def _pass_parts(self, plan: KeptPlan) -> list[Part]:
        """Each shape of pass of the workload: milliseconds with their standard errors."""
        counts = self._counted(plan)
        priced = [(self._priced(choice), count) for choice, count in counts.items()]
        found = []
        for place, shape in enumerate(self._generations.shapes):
            part = total([parts[place].times(count) for parts, count in priced])
            found.append(Part(self._lines.intercept_ms(shape) + part.ms, part.error_ms))
        return found

    def _counted(self, plan: KeptPlan) -> Counter[OperatorChoice]:
        """All choices of a plan, and how often it makes each."""
        check_sizes(self.geometry, plan.plan)
        counts: Counter[OperatorChoice] = Counter([OperatorChoice("ends", plan.plan.head)])
        for choices in self.choices(plan):
            counts.update(choices)
        return counts

    def _priced(self, choice: OperatorChoice) -> tuple[Part, ...]:
        """What a choice adds to each shape of pass, weighed by what its group is worth."""
        found = self._parts.get(choice)
        if found is None:
            try:
                found = tuple(
                    self._of_shape(choice, shape).times(self._lines.weight(shape, choice.group))
                    for shape in self._generations.shapes
                )
            except MissingShapeError as error:
                raise self._with_option(error, choice) from error
            self._parts[choice] = found
        return found

    def _with_option(self, error: MissingShapeError, choice: OperatorChoice) -> MissingShapeError:
        """The error; the option that times a pruned size, where that is what is missing."""
        if choice.size is None:
            return error
        mlp, g = short_of(choice.part) == "mlp", self.geometry
        share = choice.size / (g.intermediate_size if mlp else g.num_kv_heads)
        return MissingShapeError(f"{error} --kept-{'channels' if mlp else 'heads'} {share:.3g}")

    def _of_shape(self, choice: OperatorChoice, shape: PassShape) -> Part:
        """Operators of a choice in a pass of a shape; in the mean over phases of what is kept."""
        found = self._raw.get((choice, shape))
        if found is None:
            found = self._raw[choice, shape] = (
                self._kept(choice, shape)
                if choice.part == "kept"
                else Part.of(self._products(choice, shape), self.device.costs)
            )
        return found

    def _kept(self, choice: OperatorChoice, shape: PassShape) -> Part:
        """Attention of a layer that keeps a share of what is cached."""
        assert isinstance(choice.value, float), "what is kept is a share"
        rows, costs = shape.rows, self.device.costs
        heads, caching = self.geometry.keeping(choice.size), choice.caching
        if shape.kind is PassKind.REFRESH:
            signal = caching.signal_for(choice.value)
            return Part.of(mixing(heads, rows, rows, signal, shape.predicted), costs)
        return total(
            Part.of(mixing(heads, rows, keys_of(shape, share)), costs).times(weight)
            for share, weight in caching.shares_of(choice.value)
        )

    def _products(self, choice: OperatorChoice, shape: PassShape) -> Counter[OpKey]:
        """Operators of a choice of a format; the ends run on the predicted rows alone."""
        fmt = choice.format
        assert fmt is not None, "products have a format"
        if choice.part == "ends":
            return ends(self.geometry, fmt, shape.predicted)
        g = self.geometry.keeping(**{_size_of(choice.part): choice.size})
        total: Counter[OpKey] = Counter()
        for group in groups_of(choice.part):
            total += group_operators(g, group, fmt, shape.rows)
        return total


def layer_choices(
    layer: LayerPlan,
    kept_share: float,
    caching: Caching = PLAIN,
    groups: Sequence[str] = LINEAR_GROUPS,
) -> list[OperatorChoice]:
    """The choices that make up a layer: its products, and what it keeps.

    Args:
        layer: what is done to it.
        kept_share: of its cached positions.
        caching: how these are chosen.
        groups: its products by linear groups, or by short forms whose two formats are alike.
    """
    products = [
        OperatorChoice(group, getattr(layer, group), getattr(layer, _size_of(group)))
        for group in groups
    ]
    return [
        *products,
        # layers that keep all positions are alike, however others choose theirs
        OperatorChoice(
            "kept", float(kept_share), layer.kept_heads, caching if kept_share < 1.0 else PLAIN
        ),
    ]


def _told_apart(plan: CompressionPlan) -> list[str]:
    """Linear groups of a plan, by short forms where no layer tells the two apart.

    All layers have the same, since errors of one operator in several layers are one error. Sums of
    plans in short form are then, to the last bit, what they were before plans could say more.
    """
    return [
        name
        for short, groups in SHORT_FORMS.items()
        for name in (
            [short] if all(getattr(layer, short) is not None for layer in plan.layers) else groups
        )
    ]


def _size_of(group: str) -> str:
    """The field of a layer's plan that says how large a linear group is."""
    return "kept_channels" if short_of(group) == "mlp" else "kept_heads"
