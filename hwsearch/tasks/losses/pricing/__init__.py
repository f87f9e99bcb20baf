"""Prices of decoding: what a plan's way of writing costs its texts, which frozen states cannot see."""

from hwsearch.tasks.losses.pricing.catalog import PRICES, make_price
from hwsearch.tasks.losses.pricing.decoded import (
    Decoded,
    DecodedProblem,
    DecodedProblems,
    decode,
)
from hwsearch.tasks.losses.pricing.price import DecodingPrice

__all__ = [
    "PRICES",
    "Decoded",
    "DecodedProblem",
    "DecodedProblems",
    "DecodingPrice",
    "decode",
    "make_price",
]
