"""What the trials of a study share, made before the first: goal, workload, loss, predictor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypedDict, Unpack

import torch

from hwsearch.compression import WeightBank, WeightCalibration, own_calibration
from hwsearch.denoisers.caching.digest import sizes_digest
from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.finite import check_pass, check_weights
from hwsearch.denoisers.forecasts import ForecastFitter
from hwsearch.errors import InputError, StudyError
from hwsearch.latency.devices.device import Calibration, Device
from hwsearch.latency.operators import Workload
from hwsearch.latency.prediction.full_pass import predictor_of
from hwsearch.study.answering import Answering
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.early_stopping import NEVER, EarlyStopping
from hwsearch.study.goal import Goal
from hwsearch.study.objective import Objective
from hwsearch.study.preparation.feasibility import check_feasible
from hwsearch.study.preparation.loss_choice import check_own_loss
from hwsearch.study.preparation.space_checks import check_model, sinks_for_space
from hwsearch.study.records.identity import Content, content_of
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses import Loss
from hwsearch.tasks.losses.causal import SolvedProblems
from hwsearch.tasks.losses.kl import FrozenStates
from hwsearch.tasks.losses.pricing import (
    DecodedProblems,
    make_price,
    unasked,
)
from hwsearch.tasks.losses.sizes import DEFAULT_PROBLEMS
from hwsearch.tasks.problem import Problem


class Prepared(TypedDict, total=False):
    """What whoever prepares a study may know already.

    Attributes:
        content: what `content` says of it.
        fitter: fits the forecasts of decodings that foresee passes; else they are fitted on those of the
            questions that no plan is asked, or on all where there are no others.
        early: when a trial need not go on to its end.
        task: what finalists, references and scores are asked.
    """

    content: Content
    fitter: ForecastFitter | None
    early: EarlyStopping
    task: TaskChoice


def prepare(
    denoiser: Denoiser,
    space: SearchSpace,
    device: Device,
    workload: Workload,
    goal: Goal,
    questions: Sequence[Question],
    loss_function: Loss | None = None,
    **known: Unpack[Prepared],
) -> Objective:
    """Everything that the trials of a study share.

    Args:
        denoiser: the uncompressed model.
        space: what may be chosen.
        device: where the plan will run.
        workload: what is generated.
        goal: what is minimised, and within which limits; with two objectives no target can be
            infeasible.
        questions: behind the frozen states; the first `SINK_QUESTIONS` behind the sink profile.
        loss_function: the loss; None is the KL divergence on frozen states of the questions, which an
            autoregressive model does not have.
        known: see `Prepared`.

    Raises:
        StudyError: the space does not fit the model or the device.
        InputError: energy is limited on a device whose power nobody measured, or no loss is given for
            an autoregressive model.
        InfeasibleTargetError: no plan of the space meets the target.
        CheckpointError: a weight, or what the uncompressed model makes of it, is no finite number.
    """
    if space.num_layers != denoiser.num_layers:
        raise StudyError(
            f"the space has {space.num_layers} layers but model {denoiser.name!r} has "
            f"{denoiser.num_layers}"
        )
    space.check(device)
    check_model(space, denoiser, loss_function)
    if denoiser.is_causal and loss_function is None:
        raise InputError(
            f"model {denoiser.name!r} is autoregressive, so its loss needs solved problems: give "
            "loss_function=make_loss('kl', denoiser, problems)"
        )
    goal.check_device(device)
    check_weights(denoiser)
    check_pass(denoiser, questions[0])
    calibration = calibration_of(device, denoiser)
    predictor = predictor_of(device, denoiser, workload, calibration)
    sinks = sinks_for_space(denoiser, space, questions)
    loss_function = loss_function or FrozenStates.record(denoiser, questions)
    uncompressed = device.uncompressed(space.num_layers)
    baseline = predictor.predict(sinks.keep(uncompressed)).generation_ms
    fitter = known.get("fitter") or fitter_for(denoiser, space, questions)
    objective = Objective(
        denoiser=denoiser,
        space=space,
        predictor=predictor,
        sinks=sinks,
        loss_function=loss_function,
        bank=bank_of(denoiser, space, questions, loss_function),
        goal=goal.on_device(device, baseline),
        content=known.get("content") or describe(denoiser, device, questions, loss_function),
        answering=answering_for(denoiser, space, questions, loss_function, fitter),
        fitter=fitter,
        early=known.get("early", NEVER),
        task=known.get("task") or TaskChoice(),
    )
    check_feasible(objective)
    check_own_loss(objective)
    return objective


def fitter_for(
    denoiser: Denoiser, space: SearchSpace, questions: Sequence[Question]
) -> ForecastFitter | None:
    """Who fits forecasts; None where no decoding of the space foresees passes."""
    return ForecastFitter(denoiser, unasked(questions)) if space.foresees else None


def answering_for(
    denoiser: Denoiser,
    space: SearchSpace,
    questions: Sequence[Question],
    loss_function: Loss,
    fitter: ForecastFitter | None = None,
) -> Answering | None:
    """Who asks plans calibration questions; None where all are decoded as the makers do.

    What the uncompressed model answers is known where the loss was recorded from it.
    """
    if set(space.decodings) == {None}:
        return None
    asked = [Problem.of(question) for question in questions[:DEFAULT_PROBLEMS]]
    written = loss_function.written if isinstance(loss_function, FrozenStates) else None
    if written is not None:
        written = written.first(len(asked))
    problems = DecodedProblems(denoiser, asked, written=written, fitter=fitter)
    return Answering(problems, make_price(problems))


def calibration_of(device: Device, denoiser: Denoiser) -> Calibration | None:
    """What a device's sums are made times with, for a model. Raises `InputError` if it is of others."""
    return device.info.calibration(denoiser.name, sizes_digest(denoiser))


def describe(
    denoiser: Denoiser,
    device: Device,
    questions: Sequence[Question],
    loss: Loss | str | None,
    task: TaskChoice | None = None,
) -> dict[str, str]:
    """What a study of these is about, by content; None is the loss that `prepare` makes itself."""
    name = (loss or FrozenStates.name) if isinstance(loss, str | None) else loss.name
    calibration, words = calibration_of(device, denoiser), (task or TaskChoice()).words
    return content_of(denoiser, device, calibration, questions, name, words)


def bank_of(
    denoiser: Denoiser, space: SearchSpace, questions: Sequence[Question], loss_function: Loss
) -> WeightBank:
    """Modules for the plans of a space; calibrated only where some plan needs it, which takes a while.

    Linears of an autoregressive model see the solved problems of its loss.
    """
    if not space.needs_calibration:
        return WeightBank(denoiser)
    if isinstance(loss_function, SolvedProblems):
        texts = [torch.from_numpy(batch.tokens) for batch in loss_function.batches]
        passes = [[tokens.to(denoiser.network.device)] for tokens in texts]
        return WeightBank(denoiser, WeightCalibration(denoiser, passes))
    return WeightBank(denoiser, own_calibration(denoiser, questions))
