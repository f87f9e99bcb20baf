"""The loss that a study asks for, and whether it can be searched by."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan
from hwsearch.study.objective import Objective
from hwsearch.study.preparation.calibration import calibration_problems
from hwsearch.tasks.losses import Loss, make_loss
from hwsearch.tasks.problem import Problem


def choose_loss(
    loss: str | Loss, denoiser: Denoiser, questions: Sequence[str] | None
) -> Loss | None:
    """What a loss by name stands for; None is the one that `prepare` makes itself.

    Args:
        loss: a name of `LOSSES`, or a loss.
        denoiser: the uncompressed model.
        questions: calibration questions; None takes gsm-mini's, whose answers are known.

    Raises:
        UnknownNameError: no loss goes by that name.
        InputError: the loss needs answers, and only questions are given.
    """
    if not isinstance(loss, str):
        return loss
    if loss == "kl":
        return None
    if questions is None:
        return make_loss(loss, denoiser, calibration_problems())
    if loss in ("nll", "digits"):
        raise InputError(
            f"loss {loss!r} needs problems with answers, not questions alone; "
            "make it with hwsearch.tasks.losses.make_loss and give that as the loss"
        )
    return make_loss(loss, denoiser, [Problem(question, "") for question in questions])


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
