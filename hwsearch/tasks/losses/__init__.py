"""Losses that stand in for accuracy: quick enough for a trial, and frozen across trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.lazy import lazy_names

if TYPE_CHECKING:
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

__getattr__ = lazy_names(
    __name__,
    {
        "hwsearch.tasks.losses.agreement": ["DecodeAgreement"],
        "hwsearch.tasks.losses.catalog": ["LOSSES", "make_loss"],
        "hwsearch.tasks.losses.digits": ["AnswerDigits"],
        "hwsearch.tasks.losses.loss": ["GradualLoss", "Loss"],
        "hwsearch.tasks.losses.masked_likelihood": ["MaskedLikelihood"],
    },
)
