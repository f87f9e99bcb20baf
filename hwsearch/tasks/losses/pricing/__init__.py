"""Prices of decoding: what a plan's way of writing costs its texts, which frozen states cannot see."""

from hwsearch.tasks.losses.pricing.catalog import (
    DEFAULT_PRICE,
    DEFAULT_PROBLEMS,
    PRICES,
    make_price,
    unasked,
)
from hwsearch.tasks.losses.pricing.decoded import (
    Decoded,
    DecodedProblem,
    DecodedProblems,
    decode,
)
from hwsearch.tasks.losses.pricing.price import DecodingPrice

__all__ = [
    "DEFAULT_PRICE",
    "DEFAULT_PROBLEMS",
    "PRICES",
    "Decoded",
    "DecodedProblem",
    "DecodedProblems",
    "DecodingPrice",
    "decode",
    "make_price",
    "unasked",
]
