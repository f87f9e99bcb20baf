"""Prices by the names a user spells."""

from __future__ import annotations

from collections.abc import Callable

from hwsearch.errors import UnknownNameError
from hwsearch.tasks.losses.pricing.answers import AnswerAgreement, ExactMatch
from hwsearch.tasks.losses.pricing.decoded import DecodedProblems
from hwsearch.tasks.losses.pricing.likelihood import (
    Reading,
    TextLikelihood,
    mean_regret,
    mean_surprise,
    worst_regret,
)
from hwsearch.tasks.losses.pricing.price import DecodingPrice
from hwsearch.tasks.losses.pricing.views import EveryNth, LeftToRight, SeenByPass, View

#: Views by the name that prices begin with.
VIEWS: dict[str, View] = {
    "pass": SeenByPass(),
    "every4": EveryNth(4),
    "every8": EveryNth(8),
    "loo": EveryNth(None),
    "run4": LeftToRight(4),
    "chain": LeftToRight(1),
}

#: What is made of a view's scores, by the name that prices end with.
READINGS: dict[str, Reading] = {
    "surprise": mean_surprise,
    "regret": mean_regret,
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


def make_price(name: str, problems: DecodedProblems) -> DecodingPrice:
    """A price by name.

    Raises:
        UnknownNameError: no price goes by that name.
    """
    if name not in PRICES:
        raise UnknownNameError("price", name, PRICES)
    return PRICES[name](problems)
