"""Losses that stand in for accuracy: quick enough for a trial, and frozen across trials."""

from hwsearch.tasks.proxies.agreement import DecodeAgreement
from hwsearch.tasks.proxies.catalog import PROXIES, make_proxy
from hwsearch.tasks.proxies.digits import AnswerDigits
from hwsearch.tasks.proxies.likelihood import MaskedLikelihood
from hwsearch.tasks.proxies.proxy import GradualProxy, Proxy

__all__ = [
    "PROXIES",
    "AnswerDigits",
    "DecodeAgreement",
    "GradualProxy",
    "MaskedLikelihood",
    "Proxy",
    "make_proxy",
]
