"""Losses by the names a user spells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import UnknownNameError
from hwsearch.tasks.losses.agreement import DecodeAgreement
from hwsearch.tasks.losses.digits import AnswerDigits
from hwsearch.tasks.losses.kl import FrozenStates
from hwsearch.tasks.losses.loss import Loss
from hwsearch.tasks.losses.masked_likelihood import MaskedLikelihood
from hwsearch.tasks.problem import Problem


def _kl(denoiser: Denoiser, problems: Sequence[Problem]) -> Loss:
    return FrozenStates.record(denoiser, [problem.question for problem in problems])


def _agreement(denoiser: Denoiser, problems: Sequence[Problem]) -> Loss:
    return DecodeAgreement.record(denoiser, [problem.question for problem in problems])


#: How each loss is made from the uncompressed model and calibration problems.
LOSSES: dict[str, Callable[[Denoiser, Sequence[Problem]], Loss]] = {
    "kl": _kl,
    "nll": MaskedLikelihood.record,
    "digits": AnswerDigits.record,
    "agreement": _agreement,
}


def make_loss(name: str, denoiser: Denoiser, problems: Sequence[Problem]) -> Loss:
    """A loss by name.

    Args:
        name: one of `LOSSES`.
        denoiser: the uncompressed model.
        problems: calibration problems.

    Raises:
        UnknownNameError: no loss goes by that name.
        InputError: the problems do not serve it.
    """
    if name not in LOSSES:
        raise UnknownNameError("loss", name, LOSSES)
    return LOSSES[name](denoiser, problems)
