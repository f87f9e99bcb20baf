"""All that a study keeps of itself in its Optuna study: one schema, read and written here alone.

Names and values lie in the database as they did from the first version on, so an attribute that an
older hwsearch did not write is None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Self, TypeVar

import optuna
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from hwsearch.denoisers.geometry import Geometry, unbelievable
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.errors import InputError, StudyError
from hwsearch.files import FileKind, parse_json
from hwsearch.files.kinds import MIB
from hwsearch.plan import Decoding
from hwsearch.schema import LEAST, MOST_LENGTH, Frozen, explain
from hwsearch.study.choices.cost_tables import ChoiceCosts
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.goal import ObjectiveKind
from hwsearch.study.records.kept_verdict import KeptVerdict
from hwsearch.tasks.choice import TaskChoice

if TYPE_CHECKING:
    from hwsearch.sinks import SinkProfile

SchemaT = TypeVar("SchemaT", bound=BaseModel)

#: An attribute that holds JSON as text.
KEPT_TEXT = FileKind(
    "text that a study keeps", 64 * MIB, StudyError, "restore its database from a copy"
)


class NotKeptError(StudyError):
    """A study does not keep what hwsearch always does.

    Attributes:
        name: of what it does not keep.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"the study was not written by hwsearch: it keeps no {name}")
        self.name = name


class StudyRecord(Frozen):
    """User attributes of an Optuna study; those that are somebody else's are passed over.

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

    model_config = ConfigDict(extra="ignore")

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
    target_ms: Annotated[float, Field(ge=LEAST)] | None = None
    max_bytes: int | None = None
    max_joules: float | None = None
    watts: Annotated[float, Field(ge=LEAST)] | None = None
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
        """The choices.

        Raises:
            StudyError: they are not kept, or hwsearch cannot have kept them.
        """
        return _of_text(SearchSpace, self.kept("space"), "space")

    @property
    def prompt_length(self) -> int:
        """Tokens of the prompt. Raises as `search_space`."""
        return _of_text(_Workload, self.kept("workload"), "workload").prompt_length

    @property
    def suffix_length(self) -> int:
        """Tokens given behind the blank. Raises as `search_space`."""
        return _of_text(_Workload, self.kept("workload"), "workload").suffix_length

    @property
    def decoding_value(self) -> Decoding:
        """How text is written. Raises as `search_space`."""
        return _of_text(Decoding, self.kept("decoding"), "decoding")

    @property
    def task_choice(self) -> TaskChoice:
        """What plans were judged on. Raises `StudyError` if hwsearch cannot have kept it."""
        return TaskChoice() if self.task is None else _of_text(TaskChoice, self.task, "task")

    @property
    def loading(self) -> ModelOptions:
        """How the model was loaded. Raises as `task_choice`."""
        return _of_text(ModelOptions, self.model_options or "{}", "model_options")

    @property
    def loss_name(self) -> str:
        """Name of the loss."""
        return self.loss or "kl"

    @property
    def objective_kind(self) -> ObjectiveKind:
        """What is minimised."""
        return self.objective or ObjectiveKind.LOSS

    @property
    def verdict(self) -> KeptVerdict | None:
        """How the best plans answered real problems. Raises `StudyError` if hwsearch cannot have kept it."""
        return None if self.finalists is None else _as(KeptVerdict, self.finalists, "finalists")

    @property
    def sink_profile(self) -> SinkProfile | None:
        """What thresholds keep. Raises as `verdict`."""
        from hwsearch.sinks import SinkProfile  # torch

        return None if self.sinks is None else _as(SinkProfile, self.sinks, "sinks")

    @property
    def model_geometry(self) -> Geometry | None:
        """Sizes of the model. Raises as `verdict`."""
        kept = self.geometry
        return None if kept is None else _as(_Model, {"geometry": kept}, "model").geometry

    def kept(self, name: str) -> Any:
        """The value of an attribute that must be there. Raises `NotKeptError` where it is not."""
        value = getattr(self, name)
        if value is None:
            raise NotKeptError(name)
        return value


class _Model(Frozen):
    geometry: Geometry

    @model_validator(mode="after")
    def _believable(self) -> Self:
        problem = unbelievable(self.geometry)
        if problem is not None:
            raise ValueError(problem)
        return self


class _Workload(Frozen):
    model_config = ConfigDict(extra="ignore")

    prompt_length: Annotated[int, Field(ge=1, le=MOST_LENGTH)]
    suffix_length: Annotated[int, Field(ge=0, le=MOST_LENGTH)] = 0


def _of_text(schema: type[SchemaT], text: str, name: str) -> SchemaT:
    """What a study keeps under a name as JSON text, as a schema has it. Raises `StudyError`."""
    return _as(schema, parse_json(text, f"the study's {name}", KEPT_TEXT), name)


def _as(schema: type[SchemaT], kept: object, name: str) -> SchemaT:
    """What a study keeps under a name, as a schema has it. Raises `StudyError`."""
    try:
        return schema.model_validate(kept)
    except (ValidationError, InputError) as error:
        said = explain(error) if isinstance(error, ValidationError) else error
        raise StudyError(
            f"hwsearch did not write what the study keeps of its {name}: {said}; restore its database from "
            "a copy"
        ) from error


def update_record(study: optuna.Study, **values: Any) -> None:
    """Write attributes of `StudyRecord` into a study, those alone that differ from what it keeps."""
    unknown = values.keys() - StudyRecord.model_fields.keys()
    assert not unknown, f"StudyRecord has no {sorted(unknown)}"
    known = study.user_attrs
    for name, value in values.items():
        if known.get(name) != value:
            study.set_user_attr(name, value)
