"""A denoiser together with the plan that was applied to it."""

from __future__ import annotations

from dataclasses import dataclass

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.plan import CompressionPlan, Decoding


@dataclass(frozen=True, eq=False)
class CompressedDenoiser:
    """What `compress` returns.

    Attributes:
        denoiser: the model before compression, unchanged.
        plan: what was done to it.
        network: the network that computes as the exported one will.
        float_network: the same before any weight is rounded: the denoiser's own where the plan prunes
            no weights.
    """

    denoiser: Denoiser
    plan: CompressionPlan
    network: Network
    float_network: Network

    @property
    def decoding(self) -> Decoding:
        """The plan's decoding, or the model's own where the plan leaves it open."""
        return self.plan.decoding or self.denoiser.decoding
