"""From coarse groups of layers to single layers, within one number of trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Unpack

import optuna

from hwsearch.study.choices.search_space import Groups
from hwsearch.study.objective import Objective
from hwsearch.study.records.study import Study, load_study
from hwsearch.study.run import run_study
from hwsearch.study.settings.values import RunOptions, RunSettings
from hwsearch.study.storage.databases import STUDIES, location_of, open_storage, storage_errors
from hwsearch.study.storage.names import name_or_default

#: Groups before the free ones, and the share of all trials after which they are split.
STAGES: tuple[tuple[Groups, float], ...] = (("tied", 0.2), ("thirds", 0.5))


def run_refined(
    objective: Objective,
    *,
    on_trial: Callable[[int], None] | None = None,
    **options: Unpack[RunOptions],
) -> Study:
    """Search with all layers tied, then in thirds, then free; every trial counts in all that follow.

    The stages are the studies NAME-tied, NAME-thirds and NAME of one storage. Once NAME exists the
    coarse ones are left as they are, so nothing that was tried is tried again.

    Arguments and errors are those of `hwsearch.study.run.run_study`.
    """
    run = RunSettings(**options)
    name = name_or_default(run.name, objective.denoiser.name, objective.predictor.device.info.name)
    location = location_of(name, run.storage)
    if run.storage is None:
        STUDIES.mkdir(exist_ok=True)
    opened = open_storage(location, run.heartbeat_s)
    stages: RunOptions = {**run.run_options, "storage": str(location)}
    with storage_errors(location):
        known = optuna.get_all_study_names(opened)
    coarse: Study | None = None
    for groups, share in STAGES:
        stage = f"{name}-{groups}"
        if name in known and stage in known:
            coarse = load_study(stage, str(location))
        elif name not in known:
            space = objective.space.model_copy(update={"groups": groups})
            tied, most = replace(objective, space=space), math.ceil(share * run.trials)
            stage_options: RunOptions = {**stages, "trials": most, "name": stage}
            coarse = run_study(tied, refine=coarse, on_trial=on_trial, **stage_options)
    last: RunOptions = {**stages, "name": name}
    return run_study(objective, refine=coarse, on_trial=on_trial, **last)
