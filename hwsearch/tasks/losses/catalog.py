"""Proxies by the names a user spells."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import UnknownNameError
from hwsearch.tasks.losses.agreement import DecodeAgreement
from hwsearch.tasks.losses.digits import AnswerDigits
from hwsearch.tasks.losses.kl import FrozenStates
from hwsearch.tasks.losses.loss import Proxy
from hwsearch.tasks.losses.masked_likelihood import MaskedLikelihood
from hwsearch.tasks.problem import Problem


def _kl(denoiser: Denoiser, problems: Sequence[Problem]) -> Proxy:
    return FrozenStates.record(denoiser, [problem.question for problem in problems])


def _agreement(denoiser: Denoiser, problems: Sequence[Problem]) -> Proxy:
    return DecodeAgreement.record(denoiser, [problem.question for problem in problems])


#: How each proxy is made from the uncompressed model and calibration problems.
PROXIES: dict[str, Callable[[Denoiser, Sequence[Problem]], Proxy]] = {
    "kl": _kl,
    "nll": MaskedLikelihood.record,
    "digits": AnswerDigits.record,
    "agreement": _agreement,
}


def make_proxy(name: str, denoiser: Denoiser, problems: Sequence[Problem]) -> Proxy:
    """A proxy by name.

    Args:
        name: one of `PROXIES`.
        denoiser: the uncompressed model.
        problems: calibration problems.

    Raises:
        UnknownNameError: no proxy goes by that name.
        InputError: the problems do not serve it.
    """
    if name not in PROXIES:
        raise UnknownNameError("loss", name, PROXIES)
    return PROXIES[name](denoiser, problems)
