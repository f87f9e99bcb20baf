"""Prices of decoding: what a plan's way of writing costs its texts, which frozen states cannot see."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.lazy import lazy_names

if TYPE_CHECKING:
    from hwsearch.tasks.losses.pricing.catalog import (
        DEFAULT_PRICE,
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
    "PRICES",
    "Decoded",
    "DecodedProblem",
    "DecodedProblems",
    "DecodingPrice",
    "decode",
    "make_price",
    "unasked",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hwsearch.tasks.losses.pricing.catalog": [
            "DEFAULT_PRICE",
            "PRICES",
            "make_price",
            "unasked",
        ],
        "hwsearch.tasks.losses.pricing.decoded": [
            "Decoded",
            "DecodedProblem",
            "DecodedProblems",
            "decode",
        ],
        "hwsearch.tasks.losses.pricing.price": ["DecodingPrice"],
    },
)
