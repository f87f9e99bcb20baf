"""What plans of a study take on a device, told from what the study keeps: no model is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hwsearch.decoding.kept import KeptPlan
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.denoisers.caching.digest import geometry_digest
from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import HwsearchError, UnknownNameError
from hwsearch.latency.devices.device import Device, load_kept_device
from hwsearch.latency.operators import Workload
from hwsearch.latency.prediction.operator_sums import OperatorChoice
from hwsearch.latency.prediction.predictor import Latency, Predictor
from hwsearch.plan import CompressionPlan
from hwsearch.report.study.section import MissingFactsError
from hwsearch.sinks import SinkProfile
from hwsearch.study.records.record import StudyRecord

#: What a part of a layer is called.
PARTS: Mapping[str, str] = {
    "attention": "attention projections",
    "qkv": "q, k, v projections",
    "out": "attention output",
    "kept": "attention itself",
    "mlp": "mlp",
    "gate_up": "mlp gate and up",
    "down": "mlp down",
    "ends": "head and last norm",
    "forecast": "forecasts of passes",
    "fixed": "beside operators",
}


class Spent(NamedTuple):
    """Some of a generation's time.

    Attributes:
        layer: index of the layer; None for what belongs to none.
        part: one of `PARTS`.
        refresh_ms: in refreshes.
        step_ms: in all other passes; what is ``fixed``, or a ``forecast``, is not told apart and stands here.
    """

    layer: int | None
    part: str
    refresh_ms: float
    step_ms: float

    @property
    def ms(self) -> float:
        """Both."""
        return self.refresh_ms + self.step_ms


@dataclass(frozen=True, eq=False)
class StudyPricing:
    """Predicts a study's plans.

    Attributes:
        geometry: sizes of the model.
        profile: what thresholds keep.
        record: the study's.
    """

    geometry: Geometry
    profile: SinkProfile
    record: StudyRecord

    @classmethod
    def of(cls, record: StudyRecord, again: str) -> StudyPricing:
        """Of what a study keeps.

        Args:
            record: the study's.
            again: the command that searches it on.

        Raises:
            MissingFactsError: it keeps no sizes.
        """
        profile, geometry = record.sink_profile, record.model_geometry
        if profile is None:
            raise MissingFactsError(
                "The study was searched by an older hwsearch and keeps neither the model's sizes nor "
                f"its sinks; `{again}` adds them."
            )
        if geometry is None:
            raise MissingFactsError(
                "The model is a module of one's own, whose times by layer are not known: it has no "
                "sizes of a Llama-form transformer; no command adds them."
            )
        return cls(geometry, profile, record)

    def on(self, device: Device) -> Predictor:
        """Predicts on a device, for the study's workload. Raises `HwsearchError` as `Predictor` does."""
        record = self.record
        workload = Workload(
            record.prompt_length, record.decoding_value, suffix_length=record.suffix_length
        )
        digest = geometry_digest(self.geometry)
        return Predictor(
            device, self.geometry, workload, device.info.calibration(str(record.model), digest)
        )

    def keep(self, plan: CompressionPlan) -> KeptPlan:
        """A plan with what its thresholds keep."""
        return self.profile.keep(plan)

    def predict(self, device: Device, plan: CompressionPlan, passes: PassCounts) -> Latency:
        """Predicted times of a plan that makes these passes."""
        return self.on(device).given(passes).predict(self.keep(plan))

    def spent(self, device: Device, plan: CompressionPlan, passes: PassCounts) -> list[Spent]:
        """Where the time of a plan goes; adds up to all of it."""
        predictor, kept = self.on(device).given(passes), self.keep(plan)
        found = [
            Spent(index, choice.part, *predictor.added_by_pass_ms([choice]))
            for index, choices in enumerate(predictor.choices(kept))
            for choice in choices
        ]
        ends = OperatorChoice("ends", plan.head)
        found.append(Spent(None, "ends", *predictor.added_by_pass_ms([ends])))
        if foresees := predictor.forecast_ms:
            found.append(Spent(None, "forecast", 0.0, foresees))
        total = predictor.predict(kept).generation_ms
        return [*found, Spent(None, "fixed", 0.0, total - sum(one.ms for one in found))]


def study_device(record: StudyRecord) -> Device:
    """The device of a study, from its folder or by its name.

    Raises:
        MissingFactsError: it cannot be read any more.
    """
    try:
        return load_kept_device(record.device_folder, str(record.device))
    except HwsearchError as error:
        why = "there is no such device" if isinstance(error, UnknownNameError) else str(error)
        raise MissingFactsError(
            f"The files of device {record.device} cannot be read ({why}); put its folder back, or "
            f"`hwsearch profile --device {record.device}` times it anew."
        ) from error
