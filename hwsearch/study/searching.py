"""The search itself: min loss subject to latency, as an Optuna study."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Unpack

from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import redacted
from hwsearch.latency.devices.device import Device
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.finalists import judge_finalists
from hwsearch.study.preparation import (
    choose_loss,
    default_workload,
    describe,
    prepare,
    prompted_workload,
)
from hwsearch.study.records.identity import check_known, known_space
from hwsearch.study.records.record import update_record
from hwsearch.study.records.study import Study, load_study
from hwsearch.study.refinement import run_refined
from hwsearch.study.run import run_study
from hwsearch.study.samplers.catalog import check_sampler
from hwsearch.study.settings.file import StudySpec
from hwsearch.study.settings.values import RunOptions, StudyOptions, StudySettings
from hwsearch.study.storage.databases import location_of
from hwsearch.study.storage.names import name_or_default
from hwsearch.tasks.problem import Problem


def search(
    denoiser: Denoiser,
    space: SearchSpace,
    device: Device,
    settings: StudySettings | None = None,
    *,
    questions: Sequence[Question] | None = None,
    on_trial: Callable[[int], None] | None = None,
    on_problem: Callable[[int], None] | None = None,
    **changes: Unpack[StudyOptions],
) -> Study:
    """The plan of least loss within a target of latency or energy, as a study.

    Args:
        denoiser: the uncompressed model; it says how text is decoded.
        space: what may be chosen.
        device: where the plan will run.
        settings: what is minimised, what is limited, and how it is searched for.
        questions: calibration questions, before a task words them; None takes those of the task.
        on_trial: called with their number after each trial.
        on_problem: called with the number of problems that a finalist just answered.
        changes: settings by name, such as ``target_ratio=0.5, trials=40``; they win over `settings`.
            See `hwsearch.study.settings.StudySettings`.

    Raises:
        UnknownNameError: a setting, an objective, a loss or a sampler is none that is known.
        InputError: the target, a name or the space is wrong, the study searched something else, or
            energy is asked of a device whose power nobody measured.
        InfeasibleTargetError: no plan meets the target.
    """
    settings = StudySettings.merged(settings, changes)
    coarse = settings.refine
    if isinstance(coarse, str):
        coarse = load_study(coarse, settings.storage)
    name = name_or_default(settings.name, denoiser.name, device.info.name)
    task = settings.judged
    denoiser = task.asking(denoiser)
    if questions is None:
        problems = task.calibration_problems()
    else:
        problems = [Problem.of(question) for question in task.word(questions)]
    asked = [problem.asked for problem in problems]
    content = describe(denoiser, device, asked, settings.loss, task)
    check_known(name, location_of(name, settings.storage), content)
    if settings.prompt_length is None:
        workload = default_workload(denoiser, task)
    else:
        workload = prompted_workload(denoiser, settings.prompt_length, asked)
    loss_function = choose_loss(settings.loss, denoiser, problems)
    objective = prepare(
        denoiser,
        space,
        device,
        workload,
        settings.goal,
        asked,
        loss_function,
        content=content,
        fitter=task.fitter(denoiser) if space.foresees else None,
        early=settings.early_stopping,
        task=task,
    )
    run: RunOptions = {**settings.run_options, "name": name}
    if settings.coarse_to_fine:
        study = run_refined(objective, on_trial=on_trial, **run)
    else:
        study = run_study(objective, refine=coarse, on_trial=on_trial, **run)
    if settings.finalists:
        judge_finalists(study, objective, settings.finalists, settings.problems, on_problem)
    return study


def run_spec(
    spec: StudySpec,
    on_trial: Callable[[int], None] | None = None,
    on_problem: Callable[[int], None] | None = None,
) -> Study:
    """Run a study to its number of trials, and score its finalists.

    Args:
        spec: the study.
        on_trial: called with the number of trials after each.
        on_problem: called with the number of problems that a finalist just answered.

    Raises as `hwsearch.search` does.
    """
    # before a model is read
    check_sampler(spec.sampler)
    location_of(name_or_default(spec.name, "named", "later"), spec.storage).check(to_write=True)
    denoiser, device, space = study_subject(spec)
    name = name_or_default(spec.name, denoiser.name, device.info.name)
    space = continued_space(spec, name, space)
    settings: StudySettings = spec
    if spec.space.groups == "refine":
        settings = spec.model_copy(update={"coarse_to_fine": True})
    study = search(denoiser, space, device, settings, on_trial=on_trial, on_problem=on_problem)
    file = f"{name}.toml"
    update_record(
        study.optuna,
        command=f"hwsearch search {shlex.quote(file)}",
        study_file=redacted(spec.to_toml()),
    )
    return study


def study_subject(spec: StudySpec) -> tuple[Denoiser, Device, SearchSpace]:
    """Model, device and space of a study.

    Raises:
        UnknownNameError: the model or the device is none that is known.
        InputError: the model cannot be loaded as the study says, or the space does not fit it.
    """
    from hwsearch.latency.devices.device import load_device

    spec.judged.check()  # before a model is read
    denoiser, device = spec.load(spec.model), load_device(spec.device)
    return denoiser, device, spec.space.offered(denoiser, device)


def continued_space(spec: StudySpec, name: str, space: SearchSpace) -> SearchSpace:
    """The space with the linear groups of the study of this name, if there is one and none are said.

    So a study goes on that was begun when fewer groups were offered.

    Raises:
        StudyError: the storage cannot be used.
    """
    if spec.space.linear_groups is not None:
        return space
    begun = known_space(name, location_of(name, spec.storage))
    return space.model_copy(update={"linear_groups": (begun or space).linear_groups})
