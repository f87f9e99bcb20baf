"""Plans on several devices: the best for each, and what one device's best costs on another."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hwsearch.decoding.kept import KeptPlan
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.errors import HwsearchError, InputError, MissingShapeError
from hwsearch.latency.prediction.protocol import LatencyPredictor
from hwsearch.latency.prediction.uncertainty import Latency
from hwsearch.plan import CompressionPlan, WeightFormat


@dataclass(frozen=True)
class ComparedPlan:
    """A plan that may be a device's best.

    Attributes:
        name: what it is called, e.g. the number of its trial.
        plan: the plan.
        rank: less is better: its loss, or how compressed it is where no loss is known.
        loss: its loss; None where it was not scored.
        passes: passes of its generations, which no device changes; None for the model's own.
        spread: standard deviation of a loss that was predicted; 0 of one that was evaluated.
    """

    name: str
    plan: CompressionPlan
    rank: float
    loss: float | None = None
    passes: PassCounts | None = None
    spread: float = 0.0

    @property
    def loss_is(self) -> str:
        """``evaluated``, ``predicted``, or nothing where it is not known."""
        if self.loss is None:
            return ""
        return "predicted" if self.spread else "evaluated"


@dataclass(frozen=True)
class Cell:
    """A plan on a device.

    Attributes:
        latency: predicted times; None where the device cannot run the plan.
        why_not: why it cannot.
        cost: what is compared: milliseconds, or joules; infinite where it cannot run.
        ratio: that over the device's uncompressed plan.
        meets: whether that is within the target.
    """

    latency: Latency | None
    why_not: str = ""
    cost: float = math.inf
    ratio: float = math.inf
    meets: bool = False


@dataclass(frozen=True)
class Column:
    """A device with every plan on it, in the candidates' order.

    Attributes:
        predictor: predicts on the device.
        note: what is run otherwise than the plan says, or nothing.
        uncompressed: the least compressed plan that the device can run.
        target: the most that a plan may cost.
        cells: every candidate.
        best: place of the best candidate, or of the cheapest where none meets the target; None
            where the device can run none.
    """

    predictor: LatencyPredictor
    note: str
    uncompressed: float
    target: float
    cells: tuple[Cell, ...]
    best: int | None

    @property
    def name(self) -> str:
        """The device's name."""
        return self.predictor.device.info.name

    def penalty(self, place: int) -> float | None:
        """Share by which a candidate costs more here than this device's own best; None: cannot run."""
        if self.best is None or self.cells[place].latency is None:
            return None
        return self.cells[place].cost / self.cells[self.best].cost - 1.0


@dataclass(frozen=True)
class Unpriced:
    """A device that cannot even price its own uncompressed plan, which all shares are of.

    Attributes:
        name: the device.
        why_not: why it cannot.
    """

    name: str
    why_not: str


Keep = Callable[[CompressionPlan], KeptPlan]
Cost = Callable[[LatencyPredictor, KeptPlan], float]


def time_cost(predictor: LatencyPredictor, plan: KeptPlan) -> float:
    """Cost of a plan as the milliseconds of a generation."""
    return predictor.predict(plan).generation_ms


def energy_cost(predictor: LatencyPredictor, plan: KeptPlan) -> float:
    """Cost of a plan as joules. Raises `InputError` where the device's power is unknown."""
    return predictor.energy_j(plan)


def compare_on(
    predictor: LatencyPredictor,
    candidates: Sequence[ComparedPlan],
    keep: Keep,
    ratio: float,
    cost: Cost = time_cost,
) -> Column:
    """Every candidate on one device.

    Args:
        predictor: predicts on the device.
        candidates: the plans.
        keep: says what a plan's thresholds keep.
        ratio: the target, as a share of what the device's uncompressed plan costs.
        cost: what is compared.

    A candidate that the device cannot price says why in its cell.

    Raises:
        InputError: there is no candidate, or energy is compared and the device's power is unknown.
        MissingShapeError: the device cannot price the uncompressed plan.
    """
    if not candidates:
        raise InputError("there is no plan to compare: the study has no finished trial")
    formats = predictor.device.costs.formats()
    whole = predictor.device.uncompressed(len(candidates[0].plan.layers))
    base = cost(predictor, keep(whole))
    cells = tuple(
        _cell(_for(predictor, candidate), candidate.plan, formats, keep, cost, base, ratio)
        for candidate in candidates
    )
    note = ""
    if WeightFormat.FP32 not in formats and WeightFormat.FP16 in formats:
        note = "fp32 is run as fp16"
    return Column(predictor, note, base, ratio * base, cells, _best(cells, candidates))


def _for(predictor: LatencyPredictor, candidate: ComparedPlan) -> LatencyPredictor:
    return predictor if candidate.passes is None else predictor.given(candidate.passes)


def adapt(plan: CompressionPlan, formats: Sequence[WeightFormat]) -> tuple[CompressionPlan, str]:
    """The plan as a device runs it, and why it cannot, if it cannot.

    Only fp32 is run as something else, fp16, where a device has no fp32: every device's own
    "uncompressed". Any other format stands for an arithmetic that the loss was scored with.
    """
    if WeightFormat.FP32 not in formats and WeightFormat.FP16 in formats:
        plan = _halved(plan)
    for index, layer in enumerate(plan.layers):
        for group, fmt in layer.formats.items():
            if fmt not in formats:
                return plan, f"no {fmt.value} here (layer {index}: {group})"
    if plan.head not in formats:
        return plan, f"no {plan.head.value} here (head)"
    return plan, ""


def _halved(plan: CompressionPlan) -> CompressionPlan:
    def half(fmt: WeightFormat) -> WeightFormat:
        return WeightFormat.FP16 if fmt is WeightFormat.FP32 else fmt

    layers = tuple(
        layer.model_copy(update={name: half(fmt) for name, fmt in layer.formats.items()})
        for layer in plan.layers
    )
    return plan.model_copy(update={"layers": layers, "head": half(plan.head)})


def _cell(
    predictor: LatencyPredictor,
    plan: CompressionPlan,
    formats: Sequence[WeightFormat],
    keep: Keep,
    cost: Cost,
    base: float,
    ratio: float,
) -> Cell:
    own, why_not = adapt(plan, formats)
    if why_not:
        return Cell(None, why_not)
    try:
        kept = keep(own)
        found, latency = cost(predictor, kept), predictor.predict(kept)
    except MissingShapeError as error:
        if any(layer.kept_heads or layer.kept_channels for layer in plan.layers):
            return Cell(None, "fewer heads or channels, whose sizes are not timed here")
        return Cell(None, str(error))
    except HwsearchError as error:
        return Cell(None, str(error))
    if not math.isfinite(found):
        return Cell(None, f"its figures give {found}")
    return Cell(latency, "", found, found / base, found <= ratio * base * (1 + 1e-9))


def _best(cells: Sequence[Cell], candidates: Sequence[ComparedPlan]) -> int | None:
    runnable = [place for place, cell in enumerate(cells) if cell.latency is not None]
    if not runnable:
        return None
    meeting = [place for place in runnable if cells[place].meets]
    if not meeting:
        return min(runnable, key=lambda place: cells[place].cost)
    return min(meeting, key=lambda place: (candidates[place].rank, cells[place].cost))
