"""One study, one worker or many: who creates it, who takes the next trial, when it is done.

Everything that workers agree on lies in the storage; they never talk to each other. One at
a time chooses a plan (`hwsearch.study.storage.proposal_lock`), so that none is tried twice, and none
is tried too many. Where a database has no such lock, a worker that finds its trial to be one too many
gives it back.
"""

from __future__ import annotations

import os
import socket
import time
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

import optuna
from optuna.exceptions import (
    DuplicatedStudyError,
    StorageInternalError,
    UpdateFinishedTrialError,
)
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.records.record import StudyRecord, update_record
from hwsearch.study.records.study import ENDED
from hwsearch.study.records.trial_record import has_failed, update_trial
from hwsearch.study.records.unfinished import NOT_THE_PLANS, bury, queue_again, trial_of
from hwsearch.study.storage.databases import is_shared
from hwsearch.study.storage.presence import Presence
from hwsearch.study.storage.proposal_lock import proposal_lock

#: Seconds between two looks at a study that only other workers can finish.
POLL_S = 0.2

#: Seconds after which a creator that did not queue its plans counts as dead.
CREATE_S = 30.0


class _Objective(Protocol):
    """What a trial does; see `hwsearch.study.objective.Objective`."""

    @property
    def space(self) -> SearchSpace:
        """Suggests a trial's plan."""

    def __call__(self, trial: optuna.Trial) -> Sequence[float]:
        """Values of a trial."""


class _OneTooManyError(Exception):
    """The trial was taken when another worker had taken the last one."""


def join(
    name: str, storage: RDBStorage, directions: int, prepare: Callable[[optuna.Study], None]
) -> optuna.Study:
    """The study of this name, created now or by another worker.

    Args:
        name: the study's name.
        storage: where it lives.
        directions: number of objectives, all minimised.
        prepare: writes what the study searches and queues its first plans; may be called again.
    """
    if not is_shared(str(storage.url)):
        with proposal_lock(storage, name):
            study = _create(name, storage, directions, load_if_exists=True)
            prepare(study)
        return study
    try:
        study = _create(name, storage, directions)
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage)
        _await_creator(study)
        with proposal_lock(storage, name):
            prepare(study)
        return study
    with proposal_lock(storage, name):
        prepare(study)
    update_record(study, ready=True)
    return study


def _create(
    name: str, storage: RDBStorage, directions: int, load_if_exists: bool = False
) -> optuna.Study:
    return optuna.create_study(
        study_name=name,
        storage=storage,
        directions=["minimize"] * directions,
        load_if_exists=load_if_exists,
    )


def _await_creator(study: optuna.Study) -> None:
    """Wait until the study's creator has queued its plans, or must be dead."""
    stop = time.monotonic() + CREATE_S
    while not StudyRecord.of(study).ready and not study.get_trials(deepcopy=False):
        if time.monotonic() > stop:
            return
        time.sleep(POLL_S)


def seed_of_worker(seed: int, study: optuna.Study, me: Presence | None) -> int:
    """The seed of this worker's sampler.

    A sampler that starts anew with the old seed would propose its old plans again, so the trials
    so far count; and where others are at work, so do host and process.
    """
    if me is not None:
        others = me.has_company
    else:
        others = bool(study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)))
    seed += _count_over(study.get_trials(deepcopy=False))
    if others:
        seed += zlib.crc32(f"{socket.gethostname()} {os.getpid()}".encode())
    return seed % 2**31


def run_trials(
    study: optuna.Study,
    objective: _Objective,
    storage: RDBStorage,
    trials: int,
    me: Presence | None = None,
    on_trial: Callable[[int], None] | None = None,
) -> None:
    """Take trials until the study has `trials` that were finished, stopped early or found no loss.

    Queued plans (the uniform ones, and those of dead workers) are tried even beyond that number.

    Args:
        study: the study.
        objective: what a trial does.
        storage: where the study lives.
        trials: trials that the study shall have; those whose plan has no loss count, so that a study
            ends whatever its plans do.
        me: this worker's presence at an SQLite file.
        on_trial: called with their number after each.
    """
    took = False
    while True:
        known = bury(study, objective.space, storage, me)
        if took and on_trial is not None:
            on_trial(_count_over(known))
        took = not _is_full(known, trials)
        if took:
            _take_one(study, objective, storage, trials, me)
            continue
        running = any(trial.state == TrialState.RUNNING for trial in known)
        if not running or _count_over(known) >= trials:
            return
        time.sleep(POLL_S)  # others are at the last ones, and may die


def _take_one(
    study: optuna.Study,
    objective: _Objective,
    storage: RDBStorage,
    trials: int,
    me: Presence | None,
) -> None:
    """Choose a plan while no other worker does, then try it beside them.

    A worker that stood still for so long that others took it for dead drops what it found.
    """
    with proposal_lock(storage, study.study_name) as lock:
        if _is_full(study.get_trials(deepcopy=False), trials):
            return  # others took the last ones while this worker waited for the lock

        raised: list[BaseException] = []
        begun: list[int] = []

        def guarded(trial: optuna.Trial) -> Sequence[float]:
            begun.append(trial.number)
            try:
                if not lock.is_held and _is_surplus(study, trial, trials):
                    raise _OneTooManyError
                update_trial(trial, worker=None if me is None else me.name)
                objective.space.suggest(trial)  # now the others can see which plan it is
                lock.release()
                return objective(trial)
            except BaseException as error:
                raised.append(error)
                if isinstance(error, NOT_THE_PLANS):
                    queue_again(study, trial_of(study, trial.number), objective.space)
                raise

        try:
            study.optimize(guarded, n_trials=1, catch=(_OneTooManyError,))
        except (AssertionError, ValueError, UpdateFinishedTrialError) as error:
            if raised and error is not raised[0] and not isinstance(raised[0], _OneTooManyError):
                raise raised[0] from error  # such as a full disk, on which no trial can fail either
            if isinstance(error.__context__, StorageInternalError):
                raise error.__context__ from error.__context__.__cause__  # its loss cannot be written
            if not begun or error in raised or not _has_failed(study, begun[0]):
                raise
            # neither the sampler's error nor the plan's: Optuna cannot end what others have ended, and
            # stumbles over an assertion of its own where it says so
            optuna.logging.get_logger(__name__).warning(
                f"trial {begun[0]}: others took this worker for dead and try its plan again"
            )


def _has_failed(study: optuna.Study, number: int) -> bool:
    """Whether a trial is kept as failed."""
    return trial_of(study, number).state == TrialState.FAIL


def _is_over(trial: FrozenTrial) -> bool:
    """Whether a trial counts and is over: with its loss, stopped early, or without any loss."""
    return trial.state in ENDED or has_failed(trial)


def _count_over(known: Sequence[FrozenTrial]) -> int:
    """How many trials count and are over."""
    return sum(map(_is_over, known))


def _is_taken(trial: FrozenTrial) -> bool:
    """Whether a trial counts, or will when it is over."""
    return trial.state == TrialState.RUNNING or _is_over(trial)


def _is_full(known: Sequence[FrozenTrial], trials: int) -> bool:
    """Whether enough trials were taken, and no plan is queued."""
    waiting = any(trial.state == TrialState.WAITING for trial in known)
    return not waiting and sum(map(_is_taken, known)) >= trials


def _is_surplus(study: optuna.Study, trial: optuna.Trial, trials: int) -> bool:
    """Whether enough trials were taken before this one; queued plans never are too many."""
    trials_so_far = study.get_trials(deepcopy=False)
    if trials_so_far[trial.number].system_attrs.get("fixed_params"):
        return False
    return sum(map(_is_taken, trials_so_far[: trial.number])) >= trials
