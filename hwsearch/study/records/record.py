"""All that a study keeps of itself in its Optuna study: one schema, read and written here alone.

Names and values lie in the database as they did from the first version on, so an attribute that an
older hwsearch did not write is None.
"""

from __future__ import annotations

import json
from typing import Any

import optuna
from pydantic import BaseModel, ConfigDict, ValidationError

from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.errors import StudyError
from hwsearch.plan import Decoding
from hwsearch.schema import explain
from hwsearch.study.choices.cost_tables import ChoiceCosts
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.goal import ObjectiveKind
from hwsearch.tasks.choice import TaskChoice


class StudyRecord(BaseModel):
    """User attributes of an Optuna study.

    Attributes:
        model: name of the model, or its folder.
        device: name of the device.
        device_folder: where the device's files lie.
        space: the choices, as JSON.
        workload: lengths of the prompt and of what is given behind the blank, as JSON.
        decoding: how text is written, as JSON.
        task: on which task, as JSON; None in studies from before there were several.
        model_options: how the model was loaded, as JSON.
        loss: name of the loss; None in studies from before there were several: ``kl``.
        objective: what is minimised; None in studies from before there were several: ``loss``.
        power: power of the device in words, where energy counts.
        content: digests of what all this was; see `hwsearch.study.records.identity`.
        content_since: trials from before the content was kept.
        target_ms: predicted generation time that a plan may not exceed.
        max_bytes: bytes of weights that a plan may not exceed.
        max_joules: energy that a plan may not exceed beside the target.
        watts: power of the device.
        first_ms: time of the plan of first choices.
        costs: milliseconds that each choice adds to it.
        first_bytes: bytes of the plan of first choices.
        sizes: bytes that each choice adds to it.
        cost_terms: milliseconds by tables, where choices act together.
        size_terms: bytes in the same way.
        sensitivities: what formats were estimated to cost before the first trial; see
            `hwsearch.study.sensitivities.Sensitivities`.
        loss_noise_nats: how far rounding alone moves the loss.
        finalists: how the best plans answered real problems.
        geometry: sizes of the model, as `Geometry` has them; None of a module of one's own.
        sinks: the model's sink profile, which says what thresholds keep.
        environment: machine and versions of the last run.
        command: what was called last to search it.
        study_file: what that resolved to, as a study file; None where something else than a file was told.
        outcomes: plans that were exported, timed and scored; see `hwsearch.study.records.outcome`.
        ready: whether the creator of the study has queued its first plans.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str | None = None
    device: str | None = None
    device_folder: str | None = None
    space: str | None = None
    workload: str | None = None
    decoding: str | None = None
    task: str | None = None
    model_options: str | None = None
    loss: str | None = None
    objective: ObjectiveKind | None = None
    power: str | None = None
    content: dict[str, str] | None = None
    content_since: int | None = None
    target_ms: float | None = None
    max_bytes: int | None = None
    max_joules: float | None = None
    watts: float | None = None
    first_ms: float | None = None
    costs: ChoiceCosts | None = None
    first_bytes: float | None = None
    sizes: ChoiceCosts | None = None
    cost_terms: list[dict[str, Any]] | None = None
    size_terms: list[dict[str, Any]] | None = None
    sensitivities: dict[str, Any] | None = None
    loss_noise_nats: float | None = None
    finalists: dict[str, Any] | None = None
    geometry: dict[str, Any] | None = None
    sinks: dict[str, Any] | None = None
    environment: dict[str, str] | None = None
    command: str | None = None
    study_file: str | None = None
    outcomes: list[dict[str, Any]] | None = None
    ready: bool = False

    @classmethod
    def of(cls, study: optuna.Study) -> StudyRecord:
        """What a study keeps. Raises `StudyError` if hwsearch cannot have written it."""
        try:
            return cls.model_validate(study.user_attrs)
        except ValidationError as error:
            raise StudyError(
                f"study {study.study_name} was not written by hwsearch: {explain(error)}"
            ) from error

    @property
    def search_space(self) -> SearchSpace:
        """The choices. Raises `KeyError` or `ValueError` where they are not kept."""
        return SearchSpace.model_validate_json(self.kept("space"))

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt. Raises `KeyError` where they are not kept."""
        return int(json.loads(self.kept("workload"))["prompt_length"])

    @property
    def suffix_length(self) -> int:
        """Tokens given behind the blank. Raises as `prompt_length`."""
        return int(json.loads(self.kept("workload")).get("suffix_length", 0))

    @property
    def decoding_value(self) -> Decoding:
        """How text is written. Raises `KeyError` where it is not kept."""
        return Decoding.model_validate_json(self.kept("decoding"))

    @property
    def task_choice(self) -> TaskChoice:
        """What plans were judged on."""
        return TaskChoice() if self.task is None else TaskChoice.model_validate_json(self.task)

    @property
    def loading(self) -> ModelOptions:
        """How the model was loaded."""
        return ModelOptions.model_validate_json(self.model_options or "{}")

    @property
    def loss_name(self) -> str:
        """Name of the loss."""
        return self.loss or "kl"

    @property
    def objective_kind(self) -> ObjectiveKind:
        """What is minimised."""
        return self.objective or ObjectiveKind.LOSS

    def kept(self, name: str) -> Any:
        """The value of an attribute that must be there. Raises `KeyError` where it is not."""
        value = getattr(self, name)
        if value is None:
            raise KeyError(name)
        return value


def update_record(study: optuna.Study, **values: Any) -> None:
    """Write attributes of `StudyRecord` into a study, those alone that differ from what it keeps."""
    unknown = values.keys() - StudyRecord.model_fields.keys()
    assert not unknown, f"StudyRecord has no {sorted(unknown)}"
    known = study.user_attrs
    for name, value in values.items():
        if known.get(name) != value:
            study.set_user_attr(name, value)
