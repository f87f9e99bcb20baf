"""Trials of an objective, until a study has as many as it shall have."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, Unpack

import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState

from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.denoisers.caching.results import remembered
from hwsearch.errors import StudyError
from hwsearch.latency.devices.environment import environment
from hwsearch.plan import CompressionPlan
from hwsearch.study.loss_noise import record_noise
from hwsearch.study.objective import Objective, size_bytes
from hwsearch.study.records.identity import (
    IDENTITY,
    MOVABLE,
    claim,
    differences,
    identity,
)
from hwsearch.study.records.record import StudyRecord, update_record
from hwsearch.study.records.study import Study, ended
from hwsearch.study.records.trial_record import TrialRecord, copied_attributes
from hwsearch.study.records.unfinished import params_of
from hwsearch.study.samplers.catalog import make_sampler
from hwsearch.study.sensitivities import (
    CalibratedLinears,
    PruningChoices,
    Sensitivities,
    SmallerLayers,
    measure_sensitivities,
    to_nearest,
)
from hwsearch.study.settings.values import RunOptions, RunSettings
from hwsearch.study.storage.databases import (
    STUDIES,
    location_of,
    open_storage,
    rows_of,
    storage_errors,
)
from hwsearch.study.storage.names import name_or_default
from hwsearch.study.storage.presence import presence
from hwsearch.study.workers import join, run_trials, seed_of_worker
from hwsearch.tasks.losses.loss import DivergenceLoss


def run_study(
    objective: Objective,
    *,
    refine: Study | None = None,
    on_trial: Callable[[int], None] | None = None,
    **options: Unpack[RunOptions],
) -> Study:
    """Try plans until the study has `trials` trials; one that exists is continued.

    The uncompressed model and every uniform plan that meets the target are tried first, so the
    answer is never worse than the best of them. What formats cost is estimated before, and kept in the
    study. Several processes may work on one study: on one machine by an SQLite file, on many by a
    database server.

    Args:
        objective: what a trial does.
        refine: a finished study with coarser groups, whose trials count as this one's.
        on_trial: called with their number after each trial.
        options: see `hwsearch.study.settings.RunSettings`.

    Raises:
        InputError: the study exists and searched something else, or trials shall stop early by a
            loss that is not computed state by state.
        StudyError: the storage cannot be used.
    """
    run = RunSettings(**options)
    name = name_or_default(run.name, objective.denoiser.name, objective.predictor.device.info.name)
    objective.early.check(objective.loss_function)
    location = location_of(name, run.storage)
    location.check(to_write=True)
    known = objective.known()
    make_sampler(run.sampler, run.seed, known)  # a wrong name leaves no study behind

    def prepare_study(study: optuna.Study) -> None:
        claim(study, identity(objective), objective.content, described(objective))
        if expected is not None:
            update_record(study, sensitivities=expected.model_dump(mode="json"))
        if refine is not None:
            adopt(study, objective, refine)
        enqueue(study, objective)

    if run.storage is None:
        STUDIES.mkdir(exist_ok=True)
    opened = open_storage(location, run.heartbeat_s)
    with storage_errors(location):
        coarse = None if refine is None else refine.record
        expected = expected_losses(objective, run, _kept(name, opened) or coarse)
        if expected is not None:
            known = replace(known, prior=expected.prior(objective.space))
        with presence(opened) as me:
            study = join(name, opened, 2 if objective.is_multi_objective else 1, prepare_study)
            seed = seed_of_worker(run.seed, study, me)
            study.sampler = make_sampler(run.sampler, seed, known)
            run_trials(study, objective, opened, run.trials, me, on_trial)
        done = Study(study, objective.space, objective.target_ms)
        record_noise(done, objective)
    return done


def expected_losses(
    objective: Objective, run: RunSettings, kept: StudyRecord | None
) -> Sensitivities | None:
    """What formats, thresholds and sizes are estimated to cost: as a study keeps it, or estimated now.

    None where a search does without, or its loss cannot tell.
    """
    loss = objective.loss_function
    if not run.sensitivities or run.sampler != "additive" or not isinstance(loss, DivergenceLoss):
        return None
    if kept is not None and kept.sensitivities is not None:
        known = Sensitivities.model_validate(kept.sensitivities)
        if known.covers(objective.space):
            return known
    return _estimated(objective, loss)


def _estimated(objective: Objective, loss: DivergenceLoss) -> Sensitivities:
    """Estimates for the choices of a space; those that are on disk are read."""
    denoiser, space = objective.denoiser, objective.space
    dropping, bank = space.dropping(objective.sinks), objective.bank
    calibrated = CalibratedLinears(bank) if space.rounding == "calibrated" else None
    by = [] if calibrated is None else ["calibrated", bank.calibration_origin]
    sizes = {name: [n for n in counts if n is not None] for name, counts in space.sizes.items()}
    smaller = SmallerLayers(bank, sizes) if sizes else None
    by += [] if smaller is None else [repr(sizes), bank.calibration_origin]
    text = remembered(
        "sensitivities",
        denoiser,
        [loss.judges.digest, *space.formats, *space.linear_groups, repr(dropping), *by],
        lambda: measure_sensitivities(
            denoiser.network,
            loss,
            space.formats,
            groups=space.linear_groups,
            pruning=PruningChoices(dropping, smaller),
            rounded=to_nearest if calibrated is None else calibrated,
        ).model_dump_json(),
    )
    return Sensitivities.model_validate_json(text)


def _kept(name: str, storage: RDBStorage) -> StudyRecord | None:
    """What a study keeps, if there is one of this name."""
    if name not in optuna.get_all_study_names(storage):
        return None
    return StudyRecord.of(optuna.load_study(study_name=name, storage=storage))


def enqueue(study: optuna.Study, objective: Objective) -> None:
    """Put the uncompressed plan and the uniform plans that meet the target first."""
    space = objective.space
    uncompressed = objective.predictor.device.uncompressed(space.num_layers)
    plans = [uncompressed, *space.uniform_plans()]
    queued = [params_of(trial, space) for trial in study.get_trials(deepcopy=False)]
    for index, plan in enumerate(plans):
        params = space.params(plan) if space.offers(plan) else None
        if params is not None and params not in queued and (index == 0 or objective.meets(plan)):
            study.enqueue_trial(dict(params))
            queued.append(params)


def adopt(study: optuna.Study, objective: Objective, coarse: Study) -> None:
    """Count the trials of a study with coarser groups as this one's, without trying again.

    Raises:
        StudyError: it searched another model, device, workload or loss, or plans not offered here.
    """
    theirs, ours = coarse.record, identity(objective)
    changed = differences(theirs.content or {}, objective.content)
    if changed:
        raise StudyError(
            f"study {coarse.name} cannot be refined: it was searched with something else; what "
            f"differs: {'; '.join(changed)}"
        )
    movable = MOVABLE if theirs.content is not None else ()
    for key in (key for key in IDENTITY if key not in ("space", *movable)):
        if (known := getattr(theirs, key)) != ours[key]:
            raise StudyError(
                f"study {coarse.name} cannot be refined: its {key} is {known}, not {ours[key]}"
            )
    space, present = objective.space, {tuple(t.params.items()) for t in ended(study)}
    for trial in ended(coarse.optuna):
        plan = coarse.space.plan(trial.params)
        if not all(map(math.isfinite, trial.values or ())):
            continue
        if not space.offers(plan):
            raise StudyError(
                f"study {coarse.name} cannot be refined: its trial {trial.number} is not in the "
                "new space; offer at least the old thresholds and formats, in groups no coarser"
            )
        params = space.params(plan)
        if tuple(params.items()) not in present:
            with rows_of(coarse.name):
                _recall(objective, plan, trial)
            done = trial.state == TrialState.COMPLETE
            study.add_trial(
                optuna.create_trial(
                    state=trial.state,
                    params=params,
                    distributions=dict(space.distributions()),
                    values=objective.values(plan, trial.values[0]) if done else None,
                    user_attrs=copied_attributes(trial),
                    constraints=objective.constraints(plan),
                )
            )


def _recall(objective: Objective, plan: CompressionPlan, trial: FrozenTrial) -> None:
    """Tell an objective the passes that a trial counted of a plan, so that it need not decode again."""
    kept = TrialRecord.of(trial).passes
    if plan.decoding is not None and kept is not None:
        objective.recall(plan, PassCounts.read(plan.decoding, kept))


def described(objective: Objective) -> dict[str, Any]:
    """What else a study keeps: its limits, and all it takes to answer another target."""
    jointly = {}
    if not (objective.times.is_additive and objective.weights.is_additive):
        jointly = {
            "cost_terms": objective.times.document(),
            "size_terms": objective.weights.document(),
        }
    power = objective.predictor.device.info.power
    return {
        "task": objective.task.model_dump_json(),
        "model_options": json.dumps(dict(objective.denoiser.options)),
        "target_ms": objective.target_ms,
        "max_bytes": objective.max_bytes,
        "max_joules": objective.max_joules,
        "watts": None if power is None else power.watts,
        "first_ms": objective.times.first,
        "costs": objective.costs(),
        "first_bytes": size_bytes(objective.denoiser, objective.first),
        "sizes": objective.sizes(),
        "geometry": asdict(objective.denoiser.geometry) if objective.denoiser.is_cached else None,
        "sinks": objective.sinks.model_dump(mode="json"),
        "environment": environment(),
        **jointly,
    }
