"""One study's plans, or the uniform plans of a model, on several devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hwsearch.errors import HwsearchError, InputError, UnknownNameError
from hwsearch.jobs.comparing.own_plans import Pricing, StudyPlans
from hwsearch.jobs.predicted_model import Subject, subject_of
from hwsearch.latency.devices.device import Device, load_device, load_kept_device
from hwsearch.latency.prediction.comparison import (
    Column,
    ComparedPlan,
    Cost,
    Unpriced,
    compare_on,
    energy_cost,
    time_cost,
)
from hwsearch.plan import CompressionPlan, Decoding, WeightFormat
from hwsearch.study.records.study import Study

#: What may be compared, and its unit.
COSTS: dict[str, tuple[Cost, str]] = {"latency": (time_cost, "ms"), "energy": (energy_cost, "J")}

#: Target of plans that no study had one for, as a share of the uncompressed model's time.
RATIO = 0.5


@dataclass(frozen=True)
class DeviceComparison:
    """Candidates on devices.

    Attributes:
        title: whose plans they are.
        candidates: the plans.
        columns: the devices that can price plans, in the order given.
        ratio: the target, as a share of each device's own uncompressed plan.
        unit: ``ms`` or ``J``.
        unpriced: the devices that cannot, with the reason.
    """

    title: str
    candidates: tuple[ComparedPlan, ...]
    columns: tuple[Column, ...]
    ratio: float
    unit: str
    unpriced: tuple[Unpriced, ...] = ()

    def chosen(self) -> list[int]:
        """Places of the plans that are some device's best, in the devices' order, each once."""
        return list(dict.fromkeys(c.best for c in self.columns if c.best is not None))

    def tried(self) -> list[int]:
        """Places of the plans that are no predictions."""
        return [at for at, one in enumerate(self.candidates) if one.loss_is != "predicted"]

    def runs(self, column: Column) -> int:
        """How many of those a device can run."""
        return sum(column.cells[place].latency is not None for place in self.tried())

    def frame(self) -> pd.DataFrame:
        """Every plan on every device, one row each; one row for a device that can price none."""
        rows: list[dict[str, Any]] = []
        for column in self.columns:
            for place, (candidate, cell) in enumerate(
                zip(self.candidates, column.cells, strict=True)
            ):
                rows.append(_row(column, place, candidate) | _figures(cell.latency, column, place))
        for device in self.unpriced:
            rows.append({"device": device.name, "runs": False, "why_not": device.why_not})
        return pd.DataFrame(rows)


def compare_study(
    study_name: str,
    device_names: Sequence[str],
    *,
    storage: str | None = None,
    ratio: float | None = None,
    objective: str = "latency",
    evaluate: int = 0,
) -> DeviceComparison:
    """A study's finished trials on several devices, and what its loss model has for each of them.

    A plan that no trial tried is predicted, and is a device's best only where it is predicted a
    standard deviation below the best trial there.

    Args:
        study_name: the study, or the path of its SQLite file.
        device_names: the devices.
        storage: Optuna storage; None is ``studies/<name>.db``.
        ratio: target as a share of each device's uncompressed plan; None takes the study's own.
        objective: ``latency`` or ``energy``.
        evaluate: predicted plans to try for each device, as further trials of the study; needs its model.

    A device that cannot price plans is one of `DeviceComparison.unpriced`.

    Raises:
        UnknownNameError: no such study or device.
        InputError: none of the devices can price plans.
    """
    plans = StudyPlans(study_name, storage)
    record = plans.study.record
    subject = subject_of(
        record.kept("model"),
        record.prompt_length,
        record.task_choice,
        record.loading,
        record.suffix_length,
    )
    decoding = record.decoding_value
    ratio = ratio or _ratio_of(plans.study, subject, decoding)
    cost = COSTS[objective][0]
    devices = _loaded(device_names)
    own: dict[str, ComparedPlan] = {}
    for device in devices.values():
        if isinstance(device, Unpriced):
            continue
        pricing = Pricing(subject, device, decoding, plans.passes, cost, ratio)
        found = _own(plans, pricing, evaluate)
        if found is not None:
            own.setdefault(found.plan.to_json(), found)
    title = f"study {plans.study.name}"
    candidates = [*plans.candidates, *own.values()]
    return _compare(title, subject, decoding, candidates, devices, ratio, objective)


def _loaded(names: Sequence[str]) -> dict[str, Device | Unpriced]:
    """Devices by the name that was given, each loaded once; of a damaged one the reason.

    Raises:
        UnknownNameError: there is none of some name, which is a slip of the pen.
        InputError: none is named.
    """
    if not names:
        raise InputError("name at least one device: --devices a,b,c")
    found: dict[str, Device | Unpriced] = {}
    for name in dict.fromkeys(names):
        try:
            found[name] = load_device(name)
        except UnknownNameError:
            raise
        except HwsearchError as error:
            found[name] = Unpriced(name, str(error))
    return found


def _own(plans: StudyPlans, pricing: Pricing, evaluate: int) -> ComparedPlan | None:
    """A device's own plan, after some of them were tried."""
    found = plans.own(pricing)
    for _ in range(evaluate):
        if found is None or not plans.prefers(found, pricing):
            break
        plans.evaluate(found.plan)
        found = plans.own(pricing)
    return found


def compare_uniform(
    model: str,
    device_names: Sequence[str],
    *,
    prompt_length: int | None = None,
    ratio: float | None = None,
    objective: str = "latency",
) -> DeviceComparison:
    """The uniform plans of a model, or of the sizes in a ``config.json``, on several devices.

    No loss is known, so a device's best is the least compressed plan that meets the target.
    Other arguments and errors are those of `compare_study`.
    """
    subject = subject_of(model, prompt_length)
    layers = subject.geometry.num_layers
    candidates = [
        ComparedPlan(f"all {fmt}", CompressionPlan.uniform(layers, fmt, fmt, head=fmt), rank)
        for rank, fmt in enumerate(fmt.value for fmt in WeightFormat)
    ]
    title = f"uniform plans of {subject.name}"
    devices = _loaded(device_names)
    return _compare(
        title, subject, subject.decoding, candidates, devices, ratio or RATIO, objective
    )


def _compare(
    title: str,
    subject: Subject,
    decoding: Decoding,
    candidates: Sequence[ComparedPlan],
    devices: Mapping[str, Device | Unpriced],
    ratio: float,
    objective: str,
) -> DeviceComparison:
    cost, unit = COSTS[objective]
    if not candidates:
        raise InputError("there is no plan to compare: the study has no finished trial")
    columns: list[Column] = []
    unpriced: list[Unpriced] = []
    for name, device in devices.items():
        if isinstance(device, Unpriced):
            unpriced.append(device)
            continue
        try:
            predictor = subject.predictor(device, decoding)
            columns.append(compare_on(predictor, candidates, subject.keep, ratio, cost))
        except HwsearchError as error:
            unpriced.append(Unpriced(name, str(error)))
    if not columns:
        reasons = "; ".join(f"{device.name}: {device.why_not}" for device in unpriced)
        raise InputError(f"none of these devices can price the plans: {reasons}")
    return DeviceComparison(title, tuple(candidates), tuple(columns), ratio, unit, tuple(unpriced))


def _ratio_of(study: Study, subject: Subject, decoding: Decoding) -> float:
    """The study's target over the time of the uncompressed model on the study's device."""
    try:
        device = _study_device(study)
        whole = device.uncompressed(subject.geometry.num_layers)
        predictor = subject.predictor(device, decoding)
        return study.target_ms / predictor.predict(subject.keep(whole)).generation_ms
    except HwsearchError as error:
        raise InputError(
            f"what share of the uncompressed time the target of study {study.name} is, its own device "
            f"must say, and cannot ({error}); give --target-ratio"
        ) from error


def _study_device(study: Study) -> Device:
    record = study.record
    return load_kept_device(record.device_folder, record.kept("device"))


def _row(column: Column, place: int, candidate: ComparedPlan) -> dict[str, Any]:
    info = column.predictor.device.info
    return {
        "device": column.name,
        "runtime": info.runtime,
        "provenance": info.provenance.value,
        "calibrated": column.predictor.calibration is not None,
        "plan": candidate.name,
        "loss": candidate.loss,
        "loss_is": candidate.loss_is,
        "best": place == column.best,
    }


def _figures(latency: Any, column: Column, place: int) -> dict[str, Any]:
    cell = column.cells[place]
    if latency is None:
        return {"runs": False, "why_not": cell.why_not}
    ends = (None, None) if latency.intervals_ms is None else latency.intervals_ms.generation
    return {
        "runs": True,
        "why_not": "",
        "generation_ms": latency.generation_ms,
        "p10_ms": ends[0],
        "p90_ms": ends[1],
        "passes": sum(latency.passes.values()),
        "tokens_per_second": latency.tokens_per_second,
        "joules": latency.generation_joules,
        "ratio": cell.ratio,
        "meets_target": cell.meets,
        "more_than_best": column.penalty(place),
    }
