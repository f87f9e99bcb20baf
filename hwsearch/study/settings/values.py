"""Settings of a study as one value, given by keywords in Python, by a file, or by flags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypedDict

from pydantic import Field, InstanceOf, field_validator

from hwsearch.schema import Keywords
from hwsearch.study.early_stopping import EarlyStopping, Pruner
from hwsearch.study.goal import Goal, GoalOptions
from hwsearch.study.records.study import Study
from hwsearch.tasks.choice import TaskChoice, TaskOptions
from hwsearch.tasks.losses import Loss

#: Settings of which one replaces another that was given before.
TARGETS = ("target_ms", "target_ratio", "target_joules")


class RunOptions(TypedDict, total=False):
    """Keywords of `RunSettings`."""

    sampler: str
    trials: int
    seed: int
    name: str | None
    storage: str | None
    heartbeat_s: int
    sensitivities: bool


class RunSettings(Keywords):
    """How trials are chosen, how many there shall be, and where they are kept.

    Attributes:
        sampler: one of `hwsearch.study.SAMPLERS`.
        trials: trials that the study shall have, finished or stopped early; uniform plans that meet
            the target are tried even beyond that number.
        seed: of the sampler.
        name: the study's name; one that exists is continued. None makes one of model and device.
        storage: Optuna storage, a URL or the path of an SQLite file; None is ``studies/<name>.db``.
        heartbeat_s: seconds between a worker's signs of life, where several share a storage.
        sensitivities: whether what each format costs in each layer is estimated before the first trial,
            for the sampler ``additive`` and losses that can tell; it takes as long as some ten trials.
    """

    sampler: str = "additive"
    trials: Annotated[int, Field(ge=1)] = 100
    seed: int = 0
    name: str | None = None
    storage: str | None = None
    heartbeat_s: Annotated[int, Field(ge=1)] = 30
    sensitivities: bool = True

    @property
    def run_options(self) -> RunOptions:
        """These settings alone, as keywords."""
        return RunOptions(
            sampler=self.sampler,
            trials=self.trials,
            seed=self.seed,
            name=self.name,
            storage=self.storage,
            heartbeat_s=self.heartbeat_s,
            sensitivities=self.sensitivities,
        )


class StudyOptions(GoalOptions, RunOptions, TaskOptions, total=False):
    """Keywords of `StudySettings`."""

    prompt_length: int | None
    loss: str | Loss
    pruner: Pruner
    fidelity: float
    finalists: int
    problems: int
    refine: str | Study | None
    coarse_to_fine: bool


class StudySettings(Goal, RunSettings, TaskChoice):
    """A goal, how it is searched for, and on which task; with model, device and space a whole study.

    Attributes:
        prompt_length: tokens of the prompt; None takes the calibration questions' median.
        loss: one of `hwsearch.tasks.losses.LOSSES`; in Python, also a loss of one's own.
        pruner: ``wilcoxon`` stops trials that are significantly worse; see `hwsearch.study.early_stopping`.
        fidelity: share of the loss's states on which a trial is first judged; 1 judges all.
        finalists: best plans to score by exact match after the search; 0 scores none.
        problems: held-out problems to ask each of them.
        refine: a finished study with coarser groups to go on from, whose trials count as this one's:
            a name, or its SQLite file; in Python, also the study itself.
        coarse_to_fine: whether to begin with coarse groups of layers, within the same `trials`; a
            study file says it by ``groups = "refine"``.

    Further attributes are those of `hwsearch.study.goal.Goal`, `RunSettings` and
    `hwsearch.tasks.choice.TaskChoice`.

    >>> StudySettings(target_ratio=0.5, trials=40).trials
    40
    >>> StudySettings(target_ratio=0.5, trails=40)
    Traceback (most recent call last):
    hwsearch.errors.UnknownNameError: unknown setting 'trails'; did you mean 'trials'? ...
    """

    prompt_length: Annotated[int, Field(ge=1)] | None = None
    loss: Any = "kl"
    pruner: Pruner = "none"
    fidelity: Annotated[float, Field(gt=0, le=1)] = 1.0
    finalists: Annotated[int, Field(ge=0)] = 0
    problems: Annotated[int, Field(ge=1)] = 200
    refine: str | InstanceOf[Study] | None = None
    coarse_to_fine: bool = False

    @field_validator("loss")
    @classmethod
    def _is_loss(cls, loss: Any) -> Any:
        if not isinstance(loss, str) and not (hasattr(loss, "name") and hasattr(loss, "loss")):
            raise ValueError(
                "must be the name of a loss, or an object that has name, cost and loss"
            )
        return loss

    @property
    def early_stopping(self) -> EarlyStopping:
        """When a trial need not go on to its end."""
        return EarlyStopping(self.pruner, self.fidelity)

    @classmethod
    def merged(cls, base: StudySettings | None, changes: Mapping[str, Any]) -> StudySettings:
        """Settings with some changed; a target that is given replaces one of any kind.

        Raises as `StudySettings` does.
        """
        known = {} if base is None else {n: getattr(base, n) for n in cls.model_fields}
        return cls(**replaced(known, changes))


def replaced(known: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name where changes win; a target that is given replaces one of any kind.

    >>> replaced({"target_ms": 3.0, "seed": 1}, {"target_ratio": 0.5})
    {'seed': 1, 'target_ratio': 0.5}
    """
    if any(changes.get(name) is not None for name in TARGETS):
        known = {name: value for name, value in known.items() if name not in TARGETS}
    return {**known, **changes}
