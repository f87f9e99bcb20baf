"""Trials that their worker did not finish: they fail, and their plans are queued again."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.trial import FrozenTrial, TrialState

from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.records.trial_record import FAILURE, WORKER
from hwsearch.study.storage.presence import Presence
from hwsearch.study.storage.proposal_lock import proposal_lock

#: What ends a worker and says nothing of the plan that it tries.
NOT_THE_PLANS = (KeyboardInterrupt, SystemExit, OSError, MemoryError)


def bury(
    study: optuna.Study, space: SearchSpace, storage: RDBStorage, me: Presence | None
) -> list[FrozenTrial]:
    """Fail the trials of dead workers and queue their plans again, where the storage can tell.

    Args:
        study: the study.
        space: what it chooses from.
        storage: where it lives.
        me: the presence of the worker that asks, at an SQLite file; None elsewhere.

    Returns:
        All trials, as they are then.
    """
    if me is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            fail_stale_trials(study)
        return study.get_trials(deepcopy=False)
    known = study.get_trials(deepcopy=False)
    if not _left_behind(known, me):
        return known
    with proposal_lock(storage, study.study_name):  # some may just have been taken
        for trial in _left_behind(study.get_trials(deepcopy=False), me):
            # in this order: whoever buries may be killed as well
            queue_again(study, trial, space)
            study.tell(trial.number, state=TrialState.FAIL)
    return study.get_trials(deepcopy=False)


def queue_again(study: optuna.Study, trial: FrozenTrial, space: SearchSpace) -> None:
    """Queue the plan of a trial, unless it is queued already or its loss is known to be none."""
    waiting = study.get_trials(deepcopy=False, states=(TrialState.WAITING,))
    queued = [other.system_attrs.get("fixed_params") for other in waiting]
    params = params_of(trial, space)
    if params and params not in queued and FAILURE not in trial.user_attrs:
        study.enqueue_trial(params)


def trial_of(study: optuna.Study, number: int) -> FrozenTrial:
    """A trial by its number."""
    return study.get_trials(deepcopy=False)[number]


def _left_behind(known: Sequence[FrozenTrial], me: Presence) -> list[FrozenTrial]:
    """Running trials that no living worker is at; those that hwsearch did not begin name none."""
    running = (trial for trial in known if trial.state == TrialState.RUNNING)
    return [trial for trial in running if not me.is_alive(trial.user_attrs.get(WORKER))]


def params_of(trial: FrozenTrial, space: SearchSpace) -> dict[str, Any]:
    """The plan that a trial was to try; nothing if it was killed before all of it was chosen."""
    queued: dict[str, Any] | None = trial.system_attrs.get("fixed_params")
    if queued is not None:
        return queued
    return trial.params if trial.params.keys() == space.parameters().keys() else {}
