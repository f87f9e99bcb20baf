"""Losses that stand in for accuracy: quick enough for a trial, and frozen across trials."""

from hwsearch.tasks.losses.agreement import DecodeAgreement
from hwsearch.tasks.losses.catalog import LOSSES, make_loss
from hwsearch.tasks.losses.digits import AnswerDigits
from hwsearch.tasks.losses.loss import GradualLoss, Loss
from hwsearch.tasks.losses.masked_likelihood import MaskedLikelihood

__all__ = [
    "LOSSES",
    "AnswerDigits",
    "DecodeAgreement",
    "GradualLoss",
    "Loss",
    "MaskedLikelihood",
    "make_loss",
]
