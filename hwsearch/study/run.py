"""The search itself: min loss subject to latency, as an Optuna study."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import optuna
from optuna.trial import TrialState

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InputError, StudyError
from hwsearch.latency.device import Device
from hwsearch.latency.operators import Workload
from hwsearch.study.aim import Aim, aim_of
from hwsearch.study.early import NEVER, Early
from hwsearch.study.finalists import judge_finalists
from hwsearch.study.identity import (
    CONTENT,
    IDENTITY,
    MOVABLE,
    check_known,
    claim,
    differences,
    identity,
)
from hwsearch.study.names import default_name
from hwsearch.study.noise import record_noise
from hwsearch.study.objective import Objective, size_bytes
from hwsearch.study.preparation import (
    Target,
    calibration_questions,
    choose_proxy,
    default_workload,
    describe,
    prepare,
)
from hwsearch.study.samplers import make_sampler
from hwsearch.study.space import SearchSpace
from hwsearch.study.storage import STUDIES, open_storage, place_of, storage_errors
from hwsearch.study.study import Study, ended
from hwsearch.study.workers import join, seed_of_worker, work
from hwsearch.tasks.proxies import Proxy


def search(
    denoiser: Denoiser,
    space: SearchSpace,
    device: Device,
    *,
    target_ms: float | None = None,
    target_ratio: float | None = None,
    target_joules: float | None = None,
    workload: Workload | None = None,
    questions: Sequence[str] | None = None,
    max_bytes: int | None = None,
    max_joules: float | None = None,
    aim: str = Aim.LOSS,
    refine: Study | None = None,
    trials: int = 100,
    name: str | None = None,
    storage: str | None = None,
    sampler: str = "additive",
    loss: str | Proxy = "kl",
    seed: int = 0,
    heartbeat_s: int = 30,
    early: Early = NEVER,
    coarse_to_fine: bool = False,
    finalists: int = 0,
    problems: int = 200,
    on_trial: Callable[[int], None] | None = None,
    on_problem: Callable[[int], None] | None = None,
) -> Study:
    """The plan of least loss within a target of latency or energy, as a study.

    Args:
        denoiser: the uncompressed model.
        space: what may be chosen.
        device: where the plan will run.
        target_ms: most milliseconds of a generation; or else
        target_ratio: the same as a share of the uncompressed model's prediction; or else
        target_joules: most energy of a generation, for the objectives of energy.
        workload: what is generated; None takes the task's median prompt and the model's decoding.
        questions: calibration questions; None takes those of gsm-mini.
        max_bytes: most bytes of weights; None does not limit them.
        max_joules: most energy beside a target of time; None does not limit it.
        aim: an `Aim`, the study's objective: ``loss`` within the time, ``energy`` for loss within the
            energy, or ``front`` and ``energy-front`` for all that no plan beats in both; the target
            then only marks plans, and may be left out.
        refine: a finished study with coarser groups, whose trials count as this one's.
        trials: trials that the study shall have, finished or stopped early; uniform plans that
            meet the target are tried even beyond that number.
        name: the study's name; one that exists is continued. None makes one of model and device.
        storage: Optuna storage URL or SQLite path; None is ``studies/<name>.db``.
        sampler: one of `SAMPLERS`.
        loss: one of `hwsearch.tasks.proxies.PROXIES`, or a proxy of one's own.
        seed: of the sampler.
        heartbeat_s: seconds between a worker's signs of life, where several share a storage.
        early: when a trial need not go on to its end; such trials count among `trials`.
        coarse_to_fine: whether to begin with coarse groups of layers, within the same `trials`.
        finalists: best plans to score by exact match in the end; the winner is then one of them.
        problems: held-out problems of gsm-mini to ask each finalist.
        on_trial: called with their number after each.
        on_problem: called with the number of problems that a finalist just answered.

    Raises:
        InputError: the target, a name or the space is wrong, the study searched something else, or
            energy is asked of a device whose power nobody measured.
        InfeasibleTargetError: no plan meets the target.
    """
    after = aim_of(aim)
    target = _target(target_ms, target_ratio, target_joules, after)
    name = name or default_name(denoiser.name, device.info.name)
    asked = list(questions or calibration_questions())
    content = describe(denoiser, device, asked, loss)
    check_known(name, place_of(name, storage), content)
    proxy = choose_proxy(loss, denoiser, questions)
    objective = prepare(
        denoiser,
        space,
        device,
        workload or default_workload(denoiser),
        target,
        asked,
        proxy,
        max_bytes=max_bytes,
        max_joules=max_joules,
        two=after.two,
        content=content,
    )
    objective = replace(objective, early=early)
    options: dict[str, Any] = {
        "trials": trials,
        "name": name,
        "storage": storage,
        "sampler": sampler,
        "seed": seed,
        "heartbeat_s": heartbeat_s,
        "on_trial": on_trial,
    }
    if coarse_to_fine:
        from hwsearch.study.refinement import run_refined

        study = run_refined(objective, **options)
    else:
        study = run_study(objective, refine=refine, **options)
    if finalists:
        judge_finalists(study, objective, finalists, problems, on_problem)
    return study


def run_study(
    objective: Objective,
    *,
    trials: int,
    name: str,
    storage: str | None = None,
    sampler: str = "additive",
    seed: int = 0,
    heartbeat_s: int = 30,
    refine: Study | None = None,
    on_trial: Callable[[int], None] | None = None,
) -> Study:
    """Try plans until the study has `trials` trials; one that exists is continued.

    The uncompressed model and every uniform plan that meets the target are tried first, so the
    answer is never worse than the best of them. Several processes may work on one study if their
    storage is a database server. Arguments are those of `search`.

    Raises:
        InputError: the study exists and searched something else, or trials shall stop early by a
            loss that is not computed state by state.
        StudyError: the storage cannot be used.
    """
    objective.early.check(objective.proxy)
    place = place_of(name, storage)
    place.check()
    known = objective.known()
    make_sampler(sampler, seed, known)  # a wrong name leaves no study behind

    def prepare_study(study: optuna.Study) -> None:
        claim(study, identity(objective), objective.content, described(objective))
        if refine is not None:
            adopt(study, objective, refine)
        enqueue(study, objective)

    if storage is None:
        STUDIES.mkdir(exist_ok=True)
    opened = open_storage(place, heartbeat_s)
    with storage_errors(place):
        study, others = join(name, opened, 2 if objective.two else 1, prepare_study)
        study.sampler = make_sampler(sampler, seed_of_worker(seed, study, others), known)
        if not place.is_shared:
            _recover(study)
        work(study, objective, opened, trials, on_trial)
        done = Study(study, objective.space, objective.target_ms)
        record_noise(done, objective)
    return done


def enqueue(study: optuna.Study, objective: Objective) -> None:
    """Put the uncompressed plan and the uniform plans that meet the target first."""
    space = objective.space
    uncompressed = objective.predictor.device.uncompressed(space.num_layers)
    plans = [uncompressed, *space.uniform_plans()]
    for index, plan in enumerate(plans):
        if space.offers(plan) and (index == 0 or objective.meets(plan)):
            study.enqueue_trial(dict(space.params(plan)), skip_if_exists=True)


def adopt(study: optuna.Study, objective: Objective, coarse: Study) -> None:
    """Count the trials of a study with coarser groups as this one's, without trying again.

    Raises:
        StudyError: it searched another model, device, workload or loss, or plans not offered here.
    """
    theirs, ours = coarse.optuna.user_attrs, identity(objective)
    changed = differences(theirs.get(CONTENT, {}), objective.content)
    if changed:
        raise StudyError(
            f"study {coarse.name} cannot be refined: it was searched with something else; what "
            f"differs: {'; '.join(changed)}"
        )
    movable = MOVABLE if CONTENT in theirs else ()
    for key in (key for key in IDENTITY if key not in ("space", *movable)):
        if theirs.get(key) != ours[key]:
            raise StudyError(
                f"study {coarse.name} cannot be refined: its {key} is {theirs.get(key)}, "
                f"not {ours[key]}"
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
            done = trial.state == TrialState.COMPLETE
            study.add_trial(
                optuna.create_trial(
                    state=trial.state,
                    params=params,
                    distributions=dict(space.distributions()),
                    values=objective.values(plan, trial.values[0]) if done else None,
                    user_attrs=trial.user_attrs,
                    constraints=objective.constraints(plan),
                )
            )


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
        "target_ms": objective.target_ms,
        "max_bytes": objective.max_bytes,
        "max_joules": objective.max_joules,
        "watts": None if power is None else power.watts,
        "first_ms": objective.latency(objective.first).generation_ms,
        "costs": objective.costs(),
        "first_bytes": size_bytes(objective.denoiser, objective.first),
        "sizes": objective.sizes(),
        **jointly,
    }


def _target(ms: float | None, ratio: float | None, joules: float | None, aim: Aim) -> Target:
    """The target; with two objectives it may be left out."""
    if joules is not None and not aim.energy:
        raise InputError(
            f"target_joules is the target of objective energy or energy-front; got {aim.value}. "
            "Beside a target of time, max_joules limits energy"
        )
    if aim.two and ms is None and ratio is None and joules is None:
        ratio = 1.0
    return Target(ms, ratio, joules, energy=aim.energy)


def _recover(study: optuna.Study) -> None:
    """Fail trials that a killed run left running, and queue their plans again.

    Only for SQLite, where this process is the study's only worker.
    """
    running = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.RUNNING,))
    for trial in running:
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
        if trial.params:
            study.enqueue_trial(trial.params)
