"""Losses that stand in for accuracy: quick enough for a trial, and frozen across trials."""

from hwsearch.tasks.losses.agreement import DecodeAgreement
from hwsearch.tasks.losses.catalog import PROXIES, make_proxy
from hwsearch.tasks.losses.digits import AnswerDigits
from hwsearch.tasks.losses.loss import GradualProxy, Proxy
from hwsearch.tasks.losses.masked_likelihood import MaskedLikelihood

__all__ = [
    "PROXIES",
    "AnswerDigits",
    "DecodeAgreement",
    "GradualProxy",
    "MaskedLikelihood",
    "Proxy",
    "make_proxy",
]
