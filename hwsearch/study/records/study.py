"""A study: an Optuna study with the plans read back out of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

import optuna
from optuna.trial import FrozenTrial, TrialState

from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.errors import StudyError, UnknownNameError
from hwsearch.plan import CompressionPlan
from hwsearch.study.choices.search_space import SearchSpace, is_uniform
from hwsearch.study.goal import MILLISECONDS, ObjectiveKind, Unit, joule_unit
from hwsearch.study.records.record import NotKeptError, StudyRecord
from hwsearch.study.records.rows import FrontRow, TrialRow, frame_of, front_of
from hwsearch.study.records.trial_record import TrialRecord, check_trial, has_failed
from hwsearch.study.storage.databases import (
    STUDIES,
    StudyLocation,
    location_of,
    open_storage,
    rows_of,
    storage_errors,
)
from hwsearch.study.storage.names import SUFFIX
from hwsearch.study.storage.sqlite import is_database

if TYPE_CHECKING:
    import pandas as pd

#: How a trial ends that counts: with its loss, or stopped early because it could not win.
ENDED = (TrialState.COMPLETE, TrialState.PRUNED)


@dataclass(frozen=True, eq=False)
class Study:
    """A finished or unfinished search.

    Attributes:
        optuna: the Optuna study underneath.
        space: what it chose from.
        target_ms: the predicted generation time that plans may not exceed.
    """

    optuna: optuna.Study
    space: SearchSpace
    target_ms: float

    @property
    def record(self) -> StudyRecord:
        """What it keeps of itself, read from the storage now."""
        return StudyRecord.of(self.optuna)

    # what it minimises and what limits it stay as its target does, and are read once

    @cached_property
    def objective(self) -> ObjectiveKind:
        """What it minimises."""
        return self.record.objective_kind

    @cached_property
    def energy(self) -> Unit | None:
        """Joules on its device; None where nobody measured the device's power."""
        watts = self.record.watts
        return None if watts is None else joule_unit(watts)

    @property
    def unit(self) -> Unit:
        """What its target is shown in."""
        energy = self.energy
        return energy if self.objective.is_energy and energy is not None else MILLISECONDS

    @property
    def name(self) -> str:
        """The study's name."""
        return self.optuna.study_name

    @cached_property
    def max_bytes(self) -> float:
        """Most bytes of weights; infinity where they are not limited."""
        limit = self.record.max_bytes
        return float("inf") if limit is None else float(limit)

    @cached_property
    def max_ms(self) -> float:
        """Most milliseconds that a limit of energy beside the target leaves; infinity without one."""
        limit, energy = self.record.max_joules, self.energy
        return float("inf") if limit is None or energy is None else energy.to_ms(limit)

    def frame(self) -> pd.DataFrame:
        """Every finished trial, one row each.

        Columns: number, loss, generation_ms, generation_joules (NaN where the device's power is
        unknown), size_bytes, passes (of a generation, in the mean over problems), feasible, uniform,
        plan.
        """
        return frame_of(self.rows())

    def rows(self) -> list[TrialRow]:
        """Every finished trial, oldest first: the rows of `frame`, for whom a table is too much."""
        with rows_of(self.name):
            # each of these asks the storage, so not once a trial
            record = self.record
            energy, limits = self.energy, (min(self.target_ms, self.max_ms), self.max_bytes)
            return [
                self._row(trial, record, energy, limits)
                for trial in finished(self.optuna)
                if math.isfinite(trial.values[0])  # a loss that is none may stand in an older study
            ]

    def front(self) -> pd.DataFrame:
        """Plans that no other plan beats in both loss and latency (or energy), fastest first.

        The column ``uniform_loss`` is the least loss of a uniform plan tried that takes no longer,
        NaN if there is none; no plan of the front loses more than that. ``noise`` is the loss's noise
        floor, NaN where it was not measured; ``tied`` are the numbers of the other plans of the front
        whose losses it cannot tell apart, fastest first; ``tied_choice`` is the fastest of those and
        the plan itself, the one to take, and None where nothing is tied.
        """
        return frame_of(self.front_rows(), FrontRow)

    def front_rows(self) -> list[FrontRow]:
        """The rows of `front`."""
        max_bytes, max_ms = self.max_bytes, self.max_ms
        within = (
            row
            for row in self.rows()
            if row.size_bytes <= max_bytes and row.generation_ms <= max_ms
        )
        return front_of(within, self.noise)

    @property
    def noise(self) -> float | None:
        """How far rounding alone moves the loss, in its unit; None where that was not measured."""
        return self.record.loss_noise_nats

    @property
    def stopped(self) -> int:
        """Trials that were stopped early; they are in no table."""
        return len(ended(self.optuna)) - len(finished(self.optuna))

    @property
    def failures(self) -> dict[int, str]:
        """Trials whose plan has no loss, by number, and why; they count, and are in no table."""
        return {trial.number: TrialRecord.of(trial).failure or "" for trial in failed(self.optuna)}

    def feasible(self, uniform: bool | None = None) -> pd.DataFrame:
        """Finished trials that meet the target, least loss first; uniform plans alone, or not."""
        frame = self.frame()
        chosen = frame[frame["feasible"]]
        if uniform is not None:
            chosen = chosen[chosen["uniform"] == uniform]
        return chosen.sort_values(["loss", "generation_ms"], ignore_index=True)

    @property
    def finalists(self) -> dict[str, Any] | None:
        """How the best plans answered real problems; None unless of this target and all trials.

        See `hwsearch.study.finalists.Verdict.document`.
        """
        record = self.record
        kept = record.verdict
        if kept is None or kept.target_ms != self.target_ms:
            return None
        return record.finalists if kept.trials == len(ended(self.optuna)) else None

    @property
    def best_plan(self) -> CompressionPlan:
        """The finalists' winner if there were finalists, or else the plan of least loss.

        It meets the target.

        Raises:
            StudyError: no finished trial meets it.
        """
        if self.finalists is not None:
            return self.plan(self.finalists["winner"])
        return self._best(self.feasible())

    @property
    def best_uniform_plan(self) -> CompressionPlan:
        """The uniform plan of least loss that meets the target. Raises as `best_plan` does."""
        return self._best(self.feasible(uniform=True))

    def plan(self, number: int) -> CompressionPlan:
        """Plan of one trial. Raises `UnknownNameError` if it is no finished trial."""
        for trial in finished(self.optuna):
            if trial.number == number:
                return self.space.plan(trial.params)
        numbers = [str(trial.number) for trial in finished(self.optuna)]
        raise UnknownNameError("trial", str(number), numbers)

    def _best(self, frame: pd.DataFrame) -> CompressionPlan:
        if frame.empty:
            raise StudyError(
                f"study {self.name}: none of its finished trials meets "
                f"{self.unit.show(self.target_ms)}{self._failed_last()}; "
                f"run more trials or raise the target"
            )
        best: CompressionPlan = frame["plan"].iloc[0]
        return best

    def _failed_last(self) -> str:
        """How many trials failed, and why the last one did; nothing if none did."""
        failures = self.failures
        if not failures:
            return ""
        last = max(failures)
        count = len(failures) + len(ended(self.optuna))
        return f" ({len(failures)} of {count} failed; the last, trial {last}: {failures[last]})"

    def passes(self) -> dict[int, PassCounts]:
        """How often the generations of each finished trial's plan make which passes, by number."""
        record = self.record
        with rows_of(self.name):
            return {
                trial.number: self._passes(
                    self.space.plan(trial.params), TrialRecord.of(trial), record
                )
                for trial in finished(self.optuna)
            }

    def _passes(self, plan: CompressionPlan, kept: TrialRecord, record: StudyRecord) -> PassCounts:
        decoding = plan.decoding or record.decoding_value
        if kept.passes is None:
            return PassCounts.scheduled(decoding)
        return PassCounts.read(decoding, kept.passes)

    def _row(
        self,
        trial: FrozenTrial,
        record: StudyRecord,
        energy: Unit | None,
        limits: tuple[float, float],
    ) -> TrialRow:
        plan = self.space.plan(trial.params)
        kept, (most_ms, max_bytes) = TrialRecord.of(trial), limits
        latency, size = kept.generation_ms, kept.size_bytes
        assert latency is not None and size is not None, "every trial is described before its loss"
        return TrialRow(
            trial.number,
            trial.values[0],
            latency,
            float("nan") if energy is None else energy.of(latency),
            size,
            self._passes(plan, kept, record).total,
            latency <= most_ms and size <= max_bytes,
            is_uniform(plan),
            plan,
        )


def finished(study: optuna.Study) -> list[FrozenTrial]:
    """Completed trials, oldest first."""
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that were completed or stopped early, oldest first."""
    return study.get_trials(deepcopy=False, states=ENDED)


def failed(study: optuna.Study) -> list[FrozenTrial]:
    """Trials whose plan has no loss, oldest first; not those that a dead worker left behind."""
    trials = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    return [trial for trial in trials if has_failed(trial)]


def load_study(name: str, storage: str | None = None) -> Study:
    """A study that was searched before, by name or by the path of its SQLite file.

    Raises:
        UnknownNameError: there is no such study.
        StudyError: the storage cannot be used, or holds a study that is not hwsearch's.
    """
    is_path = storage is None and (name.lower().endswith(SUFFIX) or is_database(Path(name)))
    location = StudyLocation.of(name) if is_path else location_of(name, storage)
    if location.path is not None and not location.path.exists():
        if storage is not None:
            raise StudyError(
                f"storage {location.path} does not exist; give the one that was searched"
            )
        folder = location.path.parent if is_path else STUDIES
        raise UnknownNameError("study", name, [path.stem for path in folder.glob(f"*{SUFFIX}")])
    opened = open_storage(location)
    with rows_of(name), storage_errors(location):
        names = optuna.get_all_study_names(opened)
        wanted = _wanted(name, names, is_path)
        if wanted is None:
            raise UnknownNameError("study", name, names)
        return checked_study(optuna.load_study(study_name=wanted, storage=opened))


def checked_study(study: optuna.Study) -> Study:
    """The plans' view of an Optuna study whose trials hwsearch can have written. Raises `StudyError`."""
    with rows_of(study.study_name):
        for trial in study.get_trials(deepcopy=False):
            check_trial(trial, len(study.directions))
        return as_study(study)


def _wanted(name: str, names: Sequence[str], is_path: bool) -> str | None:
    """Which of a storage's studies is asked for; None if it has none such."""
    known = {normalize("NFC", there): there for there in names}
    if not is_path:
        return name if name in names else known.get(normalize("NFC", name))
    stem = normalize("NFC", Path(name).stem)
    return names[0] if len(names) == 1 else known.get(stem)


def as_study(study: optuna.Study) -> Study:
    """The plans' view of an Optuna study. Raises `StudyError` if hwsearch did not write it."""
    record = StudyRecord.of(study)
    try:
        return Study(study, record.search_space, float(record.kept("target_ms")))
    except NotKeptError as error:
        raise StudyError(
            f"study {study.study_name} was not written by hwsearch: {error.name}"
        ) from error
