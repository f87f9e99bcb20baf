"""What became of a study's plans: exported, timed and scored. Kept in the study, for its report."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import optuna
from pydantic import ConfigDict, Field, ValidationError

from hwsearch.errors import StudyError
from hwsearch.plan import CompressionPlan
from hwsearch.schema import LEAST, Frozen, explain
from hwsearch.study.records.record import StudyRecord, update_record
from hwsearch.tasks.statistics import Interval, wilson

#: The plan that the others are held against, and the one to take.
BASELINE, WINNER = "baseline", "winner"


#: A time that was measured or predicted.
Positive = Annotated[float, Field(ge=LEAST)]


class Outcome(Frozen):
    """One plan, measured; keys beyond these are passed over.

    Attributes:
        name: ``baseline``, ``best_uniform``, ``winner``, a lever between them, or ``trial 7``.
        title: the same for people.
        plan: the plan.
        predicted_ms: predicted time of a generation.
        predicted_10_90_ms: its 10th and 90th percentile by the error of prediction; None where unknown.
        measured_ms: measured time of a generation.
        target_ms: what was asked for beside it: a share of the uncompressed model as it was measured, or
            the study's own target.
        predicted_passes, measured_passes: forward passes of a generation, in the mean.
        tokens_per_second: tokens of the answers by their time.
        correct: for each test problem, in their order, 1 if solved.
        size_bytes: bytes of the bundle.
        bundle: its folder.
        command: what measured it.
        environment: the machine and versions that it was measured with.
        finished: when, as ISO 8601 text.
    """

    model_config = ConfigDict(extra="ignore")

    name: str
    title: str
    plan: CompressionPlan
    predicted_ms: Positive
    predicted_10_90_ms: tuple[float, float] | None = None
    measured_ms: Positive
    target_ms: Positive
    predicted_passes: float
    measured_passes: float
    tokens_per_second: float
    correct: Annotated[str, Field(pattern="^[01]+$")]
    size_bytes: int
    bundle: str
    command: str
    environment: dict[str, str] = Field(default_factory=dict)
    finished: str = ""

    @property
    def solved(self) -> tuple[bool, ...]:
        """Which of the test problems it solved."""
        return tuple(mark == "1" for mark in self.correct)

    @property
    def accuracy(self) -> float:
        """Share of the test problems solved."""
        return self.correct.count("1") / len(self.correct)

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of `accuracy`."""
        return wilson(self.correct.count("1"), len(self.correct))


def keep_outcomes(study: optuna.Study, found: Sequence[Outcome]) -> None:
    """Write outcomes into a study, in place of earlier ones of the same names."""
    names = {outcome.name for outcome in found}
    kept = [outcome for outcome in outcomes_of(StudyRecord.of(study)) if outcome.name not in names]
    documents: list[dict[str, Any]] = [one.model_dump(mode="json") for one in (*kept, *found)]
    update_record(study, outcomes=documents)


def outcomes_of(record: StudyRecord) -> list[Outcome]:
    """The outcomes that a study keeps, in the order in which they were written.

    Raises:
        StudyError: hwsearch cannot have written one.
    """
    try:
        return [Outcome.model_validate(document) for document in record.outcomes or []]
    except ValidationError as error:
        raise StudyError(
            f"hwsearch did not write an outcome that the study keeps: {explain(error)}; restore its database "
            "from a copy"
        ) from error
