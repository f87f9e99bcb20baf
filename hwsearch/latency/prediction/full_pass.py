"""Latency of a model of one's own: every pass a full pass, known by the linears it names.

What else the model does (attention, norms, embeddings) is the same under every plan, so whole-model
runs tell it: it is the intercept of their line. Without such runs there is no prediction.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from copy import copy

from hwsearch.decoding.kept import KeptPlan
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.denoisers.accounting import check_own
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import LinearSizes, linear_sizes
from hwsearch.errors import InputError
from hwsearch.latency.devices.costs import Group, Sums
from hwsearch.latency.devices.device import Calibration, Device, Line
from hwsearch.latency.operators import OpKey, Workload, linear
from hwsearch.latency.prediction.operator_sums import Part
from hwsearch.latency.prediction.pass_sums import GenerationSums, PassLines
from hwsearch.latency.prediction.predictor import Predictor
from hwsearch.latency.prediction.protocol import LatencyPredictor
from hwsearch.latency.prediction.uncertainty import Latency, Spread
from hwsearch.plan import CompressionPlan, LayerPlan, WeightFormat


def full_pass_operators(
    sizes: LinearSizes, plan: CompressionPlan, workload: Workload
) -> Counter[OpKey]:
    """The named linears of one full pass; the head too runs on all positions.

    Raises:
        PlanError: the plan drops heads or channels.
    """
    check_own(plan)
    total: Counter[OpKey] = Counter()
    for index, layer in enumerate(plan.layers):
        total += layer_linears(sizes, index, layer, workload.length)
    if sizes.head is not None:
        rows, columns = sizes.head
        total[linear(workload.length, columns, rows, plan.head)] += 1
    return total


def layer_linears(sizes: LinearSizes, index: int, layer: LayerPlan, rows: int) -> Counter[OpKey]:
    """The named linears of one layer on `rows` rows."""
    return Counter(
        linear(rows, inputs, outputs, layer.format_of(group))
        for group, matrices in sizes.layers[index].items()
        for outputs, inputs in matrices
    )


def full_pass_keys(
    sizes: LinearSizes, workload: Workload, formats: Sequence[WeightFormat]
) -> list[OpKey]:
    """Every operator that some plan of the model may need."""
    layers = len(sizes.layers)
    plans = [CompressionPlan.uniform(layers, f.value, f.value, head=f) for f in formats]
    return sorted({key for plan in plans for key in full_pass_operators(sizes, plan, workload)})


class FullPassPredictor:
    """Predicts plans of a model that has full passes only. Satisfies `LatencyPredictor`.

    Idea: of a module of one's own only the linears that a plan changes are known; all the rest costs
    the same under every plan, so it is the intercept of a line. Steps: the linears of a pass are
    summed by format, the line turns the sum into a pass, and a generation is as many passes as it has
    steps. Limits: without whole-model runs there is no line and so no prediction, and what else
    would change with a plan would be missed.

    Args:
        device: the device and what linears cost on it.
        denoiser: the model.
        workload: what is generated.
        calibration: how sums become pass times; None leaves only `sums_ms`.
    """

    def __init__(
        self,
        device: Device,
        denoiser: Denoiser,
        workload: Workload,
        calibration: Calibration | None = None,
    ) -> None:
        self.device, self.workload, self.calibration = device, workload, calibration
        self._lines = PassLines(workload, calibration)
        self._generations = _sums_of(workload)
        self._sizes = linear_sizes(denoiser.network)
        self._name = denoiser.name

    def given(self, passes: PassCounts) -> FullPassPredictor:
        """The same for other passes."""
        found = copy(self)
        found.workload = self.workload.counting(passes)
        found._generations = _sums_of(found.workload)
        return found

    def predict(self, plan: KeptPlan) -> Latency:
        """Milliseconds of a plan.

        Raises:
            InputError: the model was never run whole on the device.
            MissingShapeError: the device cannot price an operator.
        """
        sums, spread = self._generations, Spread.of(self.device, self.calibration)
        parts = [Part(self._line().of(self.sums_ms(plan)[0]))] * len(sums.shapes)
        return sums.latency(parts, self._lines, spread, self.device.info.power)

    def binding(self, plan: KeptPlan) -> None:
        """None: only the linears are known."""

    def energy_j(self, plan: KeptPlan) -> float:
        """Joules of a generation; see `LatencyPredictor.energy_j`."""
        return self.device.info.known_power.joules(self.predict(plan).generation_ms)

    def sums_ms(self, plan: KeptPlan) -> tuple[Sums, Sums]:
        """Uncalibrated sums of a pass's linears by format, for a refresh and for a step alike."""
        sums = self._sums(full_pass_operators(self._sizes, plan.plan, self.workload))
        return sums, sums

    def layers_ms(self, plan: KeptPlan) -> list[float]:
        """What the linears of each layer of a plan add to a generation."""
        return [self._layer_ms(index, layer) for index, layer in enumerate(plan.plan.layers)]

    def _layer_ms(self, index: int, layer: LayerPlan) -> float:
        linears = layer_linears(self._sizes, index, layer, self.workload.length)
        line = self._line()
        pass_ms = line.of(self._sums(linears)) - line.intercept_ms
        return self._generations.passes * self._lines.generation_slope * pass_ms

    def _sums(self, operators: Counter[OpKey]) -> Sums:
        sums: dict[Group, float] = defaultdict(float)
        for key, count in operators.items():
            sums[WeightFormat(key.format)] += count * self.device.costs.cost_us(key) / 1e3
        return sums

    def _line(self) -> Line:
        if self.calibration is None:
            raise InputError(
                f"model {self._name!r} was never run whole on device {self.device.info.name}, and "
                "of a model of one's own only the linears are known; time it with "
                "hwsearch.jobs.profiling.onnxruntime.profile_machine and search on that device"
            )
        return self.calibration.refresh


def _sums_of(workload: Workload) -> GenerationSums:
    return GenerationSums(workload.shape_counts, workload.passes.mean_tokens, workload.forecast)


def predictor_of(
    device: Device,
    denoiser: Denoiser,
    workload: Workload,
    calibration: Calibration | None = None,
) -> LatencyPredictor:
    """The predictor that suits a model."""
    if denoiser.is_cached:
        return Predictor(device, denoiser.geometry, workload, calibration)
    return FullPassPredictor(device, denoiser, workload, calibration)
