"""From coarse groups of layers to single layers, within one number of trials."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import optuna

from hwsearch.study.choices.search_space import Groups
from hwsearch.study.objective import Objective
from hwsearch.study.records.study import Study, load_study
from hwsearch.study.run import run_study
from hwsearch.study.storage.databases import STUDIES, location_of, open_storage, storage_errors

#: Groups before the free ones, and the share of all trials after which they are split.
STAGES: tuple[tuple[Groups, float], ...] = (("tied", 0.2), ("thirds", 0.5))


def run_refined(
    objective: Objective,
    *,
    trials: int,
    name: str,
    storage: str | None = None,
    sampler: str = "additive",
    seed: int = 0,
    heartbeat_s: int = 30,
    on_trial: Callable[[int], None] | None = None,
) -> Study:
    """Search with all layers tied, then in thirds, then free; every trial counts in all that follow.

    The stages are the studies NAME-tied, NAME-thirds and NAME of one storage. Once NAME exists the
    coarse ones are left as they are, so nothing that was tried is tried again.

    Arguments and errors are those of `hwsearch.study.run.run_study`.
    """
    location = location_of(name, storage)
    if storage is None:
        STUDIES.mkdir(exist_ok=True)
    options: dict[str, Any] = {
        "storage": str(location),
        "sampler": sampler,
        "seed": seed,
        "heartbeat_s": heartbeat_s,
        "on_trial": on_trial,
    }
    opened = open_storage(location, heartbeat_s)
    with storage_errors(location):
        known = optuna.get_all_study_names(opened)
    coarse: Study | None = None
    for groups, share in STAGES:
        stage = f"{name}-{groups}"
        if name in known and stage in known:
            coarse = load_study(stage, str(location))
        elif name not in known:
            space = objective.space.model_copy(update={"groups": groups})
            tied, most = replace(objective, space=space), math.ceil(share * trials)
            coarse = run_study(tied, trials=most, name=stage, refine=coarse, **options)
    return run_study(objective, trials=trials, name=name, refine=coarse, **options)
