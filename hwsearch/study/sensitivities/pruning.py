"""What layers may drop, for estimates of its cost: cached positions, heads and channels.

A layer that loses heads errs at the output of its attention, one that loses channels at the output of
its mlp. What the uncompressed layer hands to these two linears is known, and so is what the smaller
layer would make of it: no pass is needed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from hwsearch.compression import WeightBank
from hwsearch.compression.pruning import blind_linears
from hwsearch.decoding.kept import KeptShares
from hwsearch.plan import LayerPlan, WeightPruning


@dataclass(frozen=True)
class SmallerLayers:
    """Sizes of layers that are estimated.

    Attributes:
        bank: with a calibration.
        sizes: counts by field of a `hwsearch.plan.LayerPlan`, such as ``kept_channels``.
    """

    bank: WeightBank
    sizes: Mapping[str, Sequence[int]]

    def linears(self, layer: int, field: str, count: int) -> dict[str, nn.Linear]:
        """What puts out the error, by path: as large as before, with zeros for what is gone."""
        assert self.bank.calibration is not None, "spaces that prune have one"
        plan = LayerPlan.model_validate({field: count})
        network = self.bank.denoiser.network
        return blind_linears(network, layer, plan, WeightPruning(), self.bank.calibration)


@dataclass(frozen=True)
class PruningChoices:
    """What is estimated beside formats.

    Attributes:
        dropping: what layers keep at each sink threshold.
        smaller: sizes of layers; None where none is.
    """

    dropping: Mapping[float, KeptShares] = field(default_factory=dict)
    smaller: SmallerLayers | None = None
