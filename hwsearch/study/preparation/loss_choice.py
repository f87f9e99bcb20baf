"""The loss that a study asks for, and whether it can be searched by."""

from __future__ import annotations

import math

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan
from hwsearch.study.objective import Objective
from hwsearch.tasks.losses import Loss, make_loss
from hwsearch.tasks.problem import Problem

#: Losses that ask how probable right answers are.
WITH_ANSWERS = ("nll", "digits")


def choose_loss(loss: str | Loss, denoiser: Denoiser, problems: list[Problem]) -> Loss | None:
    """What a loss by name stands for; None is the one that `prepare` makes itself.

    Args:
        loss: a name of `LOSSES`, or a loss.
        denoiser: the uncompressed model.
        problems: calibration problems; an answer that is not known is "".

    Raises:
        UnknownNameError: no loss goes by that name.
        InputError: the loss needs answers, and only questions are given.
    """
    if not isinstance(loss, str):
        return loss
    if loss == "kl" and not denoiser.is_causal:
        return None
    if (
        loss in WITH_ANSWERS
        and not denoiser.is_causal
        and not all(problem.answer for problem in problems)
    ):
        raise InputError(
            f"loss {loss!r} needs problems with answers, not questions alone: calibrate on problems "
            'with "question" and "answer", or take the loss kl'
        )
    return make_loss(loss, denoiser, problems)


def check_own_loss(objective: Objective) -> None:
    """See that the uncompressed model's own loss is a number.

    Raises:
        InputError: it is not, so no plan could be compared with it.
    """
    loss = objective.loss(CompressionPlan.uniform(objective.space.num_layers))
    if not math.isfinite(loss):
        raise InputError(
            f"model {objective.denoiser.name!r}: its own loss, uncompressed, must be a finite number; "
            f"loss {objective.loss_function.name!r} gives {loss} on the calibration questions: take another "
            "checkpoint, or another --loss"
        )
