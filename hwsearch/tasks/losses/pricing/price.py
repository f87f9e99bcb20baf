"""What a price of decoding is."""

from __future__ import annotations

from typing import Protocol

from hwsearch.tasks.losses.pricing.decoded import Decoded


class DecodingPrice(Protocol):
    """What a plan's decoding cost the texts that it wrote, smaller is better.

    It is added to a loss on frozen states, which cannot see that a parallel commit was wrong. The
    uncompressed model pays 0 under its makers' decoding.
    """

    @property
    def name(self) -> str:
        """As a user spells it."""

    @property
    def cost(self) -> float:
        """Work of one price, decoding left out, in full passes over one sequence.

        It is that of texts as the uncompressed model writes them and may be less or more for others.
        """

    def price(self, decoded: Decoded) -> float:
        """Price of what was decoded, of the same problems that the price was made for."""
