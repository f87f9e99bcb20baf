"""The objective of a finished study, made again: for its exports and finalists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.latency.devices.device import Device
from hwsearch.latency.operators import Workload
from hwsearch.study.goal import MILLISECONDS, Goal
from hwsearch.study.objective import Objective
from hwsearch.study.preparation.assembly import describe, prepare
from hwsearch.study.preparation.loss_choice import choose_loss
from hwsearch.study.records.identity import check_content
from hwsearch.study.records.study import Study
from hwsearch.tasks.losses import LOSSES
from hwsearch.tasks.problem import Problem

#: What a plan's figures depend on when it is exported: not the loss, nor the code that computed it.
PREDICTED = ("weights", "settings", "questions", "device figures")


def reopen(
    study: Study, denoiser: Denoiser, device: Device, questions: Sequence[Question] | None = None
) -> Objective:
    """The objective that a study was searched with, made again.

    Args:
        study: the study.
        denoiser: its model.
        device: its device.
        questions: its calibration questions as the model reads them; None takes those of its task.

    Raises as `prepare` does, and `InputError` where model, questions or device have other content than
    when the study was searched.
    """
    known = study.record
    task = known.task_choice
    denoiser = task.asking(denoiser)
    problems = task.calibration_problems()
    if questions is not None:
        problems = [Problem.of(question) for question in questions]
    asked = [problem.asked for problem in problems]
    workload = Workload(
        known.prompt_length, known.decoding_value, suffix_length=known.suffix_length
    )
    content = describe(denoiser, device, asked, known.loss_name, task)
    check_content(study.optuna, content, PREDICTED)
    limits: dict[str, Any] = {"max_bytes": known.max_bytes, "max_joules": known.max_joules}
    if study.unit == MILLISECONDS:
        goal = Goal(objective=study.objective, target_ms=study.target_ms, **limits)
    else:
        target_joules = study.unit.of(study.target_ms)
        goal = Goal(objective=study.objective, target_joules=target_joules, **limits)
    loss = known.loss_name
    loss_function = choose_loss(loss, denoiser, problems) if loss in LOSSES else None
    return prepare(
        denoiser,
        study.space,
        device,
        workload,
        goal,
        asked,
        loss_function,
        content=content,
        fitter=task.fitter(denoiser) if study.space.foresees else None,
        task=task,
    )
