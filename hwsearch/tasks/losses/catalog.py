"""Losses by the names a user spells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InputError, UnknownNameError
from hwsearch.tasks.losses.agreement import DecodeAgreement
from hwsearch.tasks.losses.causal import SolvedDivergence, SolvedLikelihood
from hwsearch.tasks.losses.digits import AnswerDigits
from hwsearch.tasks.losses.kl import FrozenStates
from hwsearch.tasks.losses.loss import Loss
from hwsearch.tasks.losses.masked_likelihood import MaskedLikelihood
from hwsearch.tasks.problem import Problem


def _kl(denoiser: Denoiser, problems: Sequence[Problem]) -> Loss:
    return FrozenStates.record(denoiser, [problem.asked for problem in problems])


def _agreement(denoiser: Denoiser, problems: Sequence[Problem]) -> Loss:
    return DecodeAgreement.record(denoiser, [problem.asked for problem in problems])


#: How each loss is made from the uncompressed model and calibration problems.
LOSSES: dict[str, Callable[[Denoiser, Sequence[Problem]], Loss]] = {
    "kl": _kl,
    "nll": MaskedLikelihood.record,
    "digits": AnswerDigits.record,
    "agreement": _agreement,
}

#: The same for autoregressive models, which know no masks.
CAUSAL_LOSSES: dict[str, Callable[[Denoiser, Sequence[Problem]], Loss]] = {
    "kl": SolvedDivergence.record,
    "nll": SolvedLikelihood.record,
}


def make_loss(name: str, denoiser: Denoiser, problems: Sequence[Problem]) -> Loss:
    """A loss by name.

    Args:
        name: one of `LOSSES`.
        denoiser: the uncompressed model.
        problems: calibration problems.

    Raises:
        UnknownNameError: no loss goes by that name.
        InputError: the problems do not serve it, or the model does not: an autoregressive one has
            those of `CAUSAL_LOSSES`.
    """
    if name not in LOSSES:
        raise UnknownNameError("loss", name, LOSSES)
    if not denoiser.is_causal:
        return LOSSES[name](denoiser, problems)
    if name not in CAUSAL_LOSSES:
        raise InputError(
            f"loss {name!r} fills in masks, and model {denoiser.name!r} is autoregressive; take the loss "
            f"{' or '.join(CAUSAL_LOSSES)}"
        )
    return CAUSAL_LOSSES[name](denoiser, problems)
