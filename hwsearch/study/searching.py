"""The search itself: min loss subject to latency, as an Optuna study."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InputError
from hwsearch.latency.devices.device import Device
from hwsearch.latency.operators import Workload
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.early_stopping import NEVER, EarlyStopping
from hwsearch.study.finalists import judge_finalists
from hwsearch.study.goal import Aim, aim_of
from hwsearch.study.preparation import (
    Target,
    calibration_questions,
    choose_proxy,
    default_workload,
    describe,
    prepare,
)
from hwsearch.study.records.identity import (
    check_known,
)
from hwsearch.study.records.study import Study
from hwsearch.study.refinement import run_refined
from hwsearch.study.run import run_study
from hwsearch.study.storage.databases import location_of
from hwsearch.study.storage.names import default_name
from hwsearch.tasks.losses import Proxy


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
    early: EarlyStopping = NEVER,
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
        loss: one of `hwsearch.tasks.losses.PROXIES`, or a proxy of one's own.
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
    check_known(name, location_of(name, storage), content)
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
        study = run_refined(objective, **options)
    else:
        study = run_study(objective, refine=refine, **options)
    if finalists:
        judge_finalists(study, objective, finalists, problems, on_problem)
    return study


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
