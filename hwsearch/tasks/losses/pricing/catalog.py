"""Prices by the names a user spells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from hwsearch.errors import UnknownNameError
from hwsearch.tasks.losses.pricing.answers import AnswerAgreement, ExactMatch
from hwsearch.tasks.losses.pricing.decoded import DecodedProblems
from hwsearch.tasks.losses.pricing.likelihood import (
    Reading,
    TextLikelihood,
    mean_regret,
    mean_surprise,
    total_regret,
    worst_regret,
)
from hwsearch.tasks.losses.pricing.price import DecodingPrice
from hwsearch.tasks.losses.pricing.views import EveryNth, LeftToRight, SeenByPass, View
from hwsearch.tasks.losses.sizes import DEFAULT_PROBLEMS

#: The price that studies/proxies/decoding.py speaks for.
DEFAULT_PRICE = "chain-total"

#: What `unasked` chooses from.
QuestionT = TypeVar("QuestionT")


def unasked(questions: Sequence[QuestionT]) -> Sequence[QuestionT]:
    """Those that no plan is asked, to fit forecasts on; all of them where there are no others."""
    return questions[DEFAULT_PROBLEMS:] or questions


#: Views by the name that prices begin with.
VIEWS: dict[str, View] = {
    "pass": SeenByPass(),
    "every4": EveryNth(4),
    "loo": EveryNth(None),
    "run4": LeftToRight(4),
    "chain": LeftToRight(1),
}

#: What is made of a view's scores, by the name that prices end with.
READINGS: dict[str, Reading] = {
    "surprise": mean_surprise,
    "regret": mean_regret,
    "total": total_regret,
    "worst": worst_regret,
}


def _likelihood(view: str, reading: str) -> Callable[[DecodedProblems], DecodingPrice]:
    name = f"{view}-{reading}"
    return lambda problems: TextLikelihood(name, problems, VIEWS[view], READINGS[reading])


#: How each price is made of what is decoded.
PRICES: dict[str, Callable[[DecodedProblems], DecodingPrice]] = {
    "answers": AnswerAgreement,
    "texts": lambda problems: AnswerAgreement(problems, None),
    "exact-match": ExactMatch,
    **{f"{view}-{reading}": _likelihood(view, reading) for view in VIEWS for reading in READINGS},
}


def make_price(problems: DecodedProblems, name: str = DEFAULT_PRICE) -> DecodingPrice:
    """A price by name.

    Args:
        problems: what is decoded, `DEFAULT_PROBLEMS` of them unless there is a reason.
        name: one of `PRICES`.

    Raises:
        UnknownNameError: no price goes by that name.
    """
    if name not in PRICES:
        raise UnknownNameError("price", name, PRICES)
    return PRICES[name](problems)
