"""All that a trial keeps of itself in its Optuna trial, read and written here alone."""

from __future__ import annotations

import math
from typing import Annotated, Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import AfterValidator, ConfigDict, Field

from hwsearch.schema import LEAST, Frozen

#: Values that a stopped trial was estimated to end with, and the standard deviation of the first. A
#: trial that has them counts as an observation with that much noise.
ESTIMATE, SPREAD = "estimated_values", "estimated_spread"

#: The mean loss of each state judged, and the share of the work that was.
LOSSES, SHARE = "state_losses", "judged_share"

#: Why a failed trial that counts has no loss.
FAILURE = "failure"

#: Which worker tries it, by the name of its `hwsearch.study.storage.presence.Presence`.
WORKER = "worker"


def _is_number(value: object) -> object:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("must be a number")
    return value


#: A loss, which is no finite number where the plan has none.
AnyNumber = Annotated[Any, AfterValidator(_is_number)]


class TrialRecord(Frozen):
    """User attributes of an Optuna trial of a study; those that are somebody else's are passed over.

    Attributes:
        generation_ms: predicted time of its plan.
        generation_joules: predicted energy; None where the device's power is unknown.
        size_bytes: bytes of its weights.
        passes: how often its generations made which passes, as `PassCounts` writes it; None where the
            model's own decoding tells.
        failure: why its plan has no loss.
        worker: who tries or tried it, at an SQLite file.
        state_losses: mean loss of each state judged, where losses are watched state by state.
        judged_share: share of the work after which it was stopped.
        estimated_values: values it was estimated to end with when it was stopped.
        estimated_spread: standard deviation of the first of them.
    """

    model_config = ConfigDict(extra="ignore")

    generation_ms: Annotated[float, Field(ge=LEAST)] | None = None
    generation_joules: Annotated[float, Field(ge=LEAST)] | None = None
    size_bytes: Annotated[int, Field(ge=0)] | None = None
    passes: dict[str, Any] | None = None
    failure: str | None = None
    worker: str | None = None
    state_losses: list[AnyNumber] | None = None
    judged_share: Annotated[float, Field(ge=0, le=1.000001)] | None = None
    estimated_values: list[float] | None = None
    estimated_spread: Annotated[float, Field(ge=0)] | None = None

    @classmethod
    def of(cls, trial: FrozenTrial) -> TrialRecord:
        """What a trial keeps."""
        return cls.model_validate(trial.user_attrs)


def update_trial(trial: optuna.Trial, **values: Any) -> None:
    """Write attributes of `TrialRecord` into a running trial; None is left out."""
    unknown = values.keys() - TrialRecord.model_fields.keys()
    assert not unknown, f"TrialRecord has no {sorted(unknown)}"
    for name, value in values.items():
        if value is not None:
            trial.set_user_attr(name, value)


def has_failed(trial: FrozenTrial) -> bool:
    """Whether a trial failed since its plan has no loss, and not since its worker died."""
    return trial.state == TrialState.FAIL and FAILURE in trial.user_attrs


def estimate_of(trial: FrozenTrial) -> tuple[list[float], float] | None:
    """Values that a stopped trial was estimated to end with, and the spread of the first.

    None where there is no estimate. Reads these alone: trials may be of anybody's study.
    """
    kept = trial.user_attrs
    if trial.state != TrialState.PRUNED or ESTIMATE not in kept:
        return None
    return kept[ESTIMATE], float(kept[SPREAD])


def check_trial(trial: FrozenTrial, objectives: int) -> None:
    """See that hwsearch can have written a trial. Raises `ValueError`.

    Args:
        trial: as the storage has it.
        objectives: how many values a finished one has.
    """
    kept = TrialRecord.of(trial)
    counted = kept.estimated_values if trial.state == TrialState.PRUNED else trial.values
    if counted is not None and len(counted) != objectives:
        raise ValueError(
            f"trial {trial.number} has {len(counted)} values, and the study {objectives}"
        )
    if (kept.estimated_values is None) != (kept.estimated_spread is None):
        raise ValueError(
            f"trial {trial.number} must have both {ESTIMATE} and {SPREAD}, and has one"
        )
    try:
        constraints = trial.constraints
    except TypeError as error:  # a name that is no text, or a list that is none
        raise ValueError(f"trial {trial.number} has constraints that are not Optuna's") from error
    for name, value in constraints.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"trial {trial.number}: its constraint {name!r} is no number")


def seen_ms(trial: FrozenTrial) -> float:
    """Milliseconds that a trial keeps of its plan; NaN for a trial of another's study."""
    kept = trial.user_attrs.get("generation_ms")
    return float(kept) if isinstance(kept, int | float) else math.nan


def copied_attributes(trial: FrozenTrial) -> dict[str, Any]:
    """All attributes of a trial, for another study that counts it as its own."""
    return dict(trial.user_attrs)
