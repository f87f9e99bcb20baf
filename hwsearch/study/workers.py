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
import warnings
import zlib
from collections.abc import Callable, Sequence
from typing import Protocol

import optuna
from optuna.exceptions import DuplicatedStudyError, ExperimentalWarning, UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.records.record import StudyRecord, update_record
from hwsearch.study.records.study import ENDED, ended, failed
from hwsearch.study.records.trial_record import has_failed
from hwsearch.study.storage.databases import is_shared
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
) -> tuple[optuna.Study, bool]:
    """The study of this name, created now or by another worker.

    Args:
        name: the study's name.
        storage: where it lives.
        directions: number of objectives, all minimised.
        prepare: writes what the study searches and queues its first plans; may be called again.

    Returns:
        The study, and whether other workers seem to be at it.
    """
    try:
        study = optuna.create_study(
            study_name=name, storage=storage, directions=["minimize"] * directions
        )
    except DuplicatedStudyError:
        study = optuna.load_study(study_name=name, storage=storage)
        shared = is_shared(str(storage.url))
        if shared:
            _await_creator(study)  # elsewhere it was the only worker, and has been killed
        with proposal_lock(storage, name):
            prepare(study)
        if not shared:
            return study, False
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        return study, bool(running)
    with proposal_lock(storage, name):
        prepare(study)
    update_record(study, ready=True)
    return study, False


def _await_creator(study: optuna.Study) -> None:
    """Wait until the study's creator has queued its plans, or must be dead."""
    stop = time.monotonic() + CREATE_S
    while not StudyRecord.of(study).ready and not study.get_trials(deepcopy=False):
        if time.monotonic() > stop:
            return
        time.sleep(POLL_S)


def seed_of_worker(seed: int, study: optuna.Study, others: bool) -> int:
    """The seed of this worker's sampler.

    A sampler that starts anew with the old seed would propose its old plans again, so the trials
    so far count; and where others are at work, so do host and process.
    """
    seed += len(ended(study)) + len(failed(study))
    if others:
        seed += zlib.crc32(f"{socket.gethostname()} {os.getpid()}".encode())
    return seed % 2**31


def run_trials(
    study: optuna.Study,
    objective: _Objective,
    storage: RDBStorage,
    trials: int,
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
        on_trial: called with their number after each.
    """

    while True:
        _bury(study)
        known = study.get_trials(deepcopy=False)
        if not _is_full(known, trials):
            _take_one(study, objective, storage, trials)
            if on_trial is not None:
                on_trial(len(ended(study)) + len(failed(study)))
            continue
        running = any(trial.state == TrialState.RUNNING for trial in known)
        if not running or sum(map(_is_over, known)) >= trials:
            return
        time.sleep(POLL_S)  # others are at the last ones, and may die


def _take_one(study: optuna.Study, objective: _Objective, storage: RDBStorage, trials: int) -> None:
    """Choose a plan while no other worker does, then try it beside them.

    A worker that stood still for so long that others took it for dead drops what it found.
    """
    with proposal_lock(storage, study.study_name) as lock:
        if is_shared(str(storage.url)) and _is_full(study.get_trials(deepcopy=False), trials):
            return  # others took the last ones while this worker waited for the lock

        raised: list[Exception] = []
        begun: list[int] = []

        def guarded(trial: optuna.Trial) -> Sequence[float]:
            begun.append(trial.number)
            try:
                if is_shared(str(storage.url)) and _is_surplus(study, trial, trials):
                    raise _OneTooManyError
                objective.space.suggest(trial)  # now the others can see which plan it is
                lock.release()
                return objective(trial)
            except Exception as error:
                raised.append(error)
                raise

        try:
            study.optimize(guarded, n_trials=1, catch=(_OneTooManyError,))
        except (AssertionError, ValueError, UpdateFinishedTrialError) as error:
            if not begun or error in raised or not _has_failed(study, begun[0]):
                raise
            # neither the sampler's error nor the plan's: Optuna cannot end what others have ended, and
            # stumbles over an assertion of its own where it says so
            optuna.logging.get_logger(__name__).warning(
                f"trial {begun[0]}: others took this worker for dead and try its plan again"
            )


def _has_failed(study: optuna.Study, number: int) -> bool:
    """Whether a trial is kept as failed."""
    return study.get_trials(deepcopy=False)[number].state == TrialState.FAIL


def _is_over(trial: FrozenTrial) -> bool:
    """Whether a trial counts and is over: with its loss, stopped early, or without any loss."""
    return trial.state in ENDED or has_failed(trial)


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


def _bury(study: optuna.Study) -> None:
    """Fail the trials of dead workers and queue their plans again, where the storage can tell."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ExperimentalWarning)
        fail_stale_trials(study)
