"""Where plans of one model are made ready to be judged, timed and exported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsearch.compression.bank import WeightBank, compress
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.decoding.kept import KeptPlan, KeptShares
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.plan import CompressionPlan

if TYPE_CHECKING:
    from hwsearch.sinks.profile import SinkProfile


@dataclass(frozen=True, eq=False)
class Workbench:
    """What all plans of a model share: the model, what its thresholds keep, weights rounded so far.

    Attributes:
        denoiser: the uncompressed model.
        sinks: says what share of cached positions a threshold keeps.
        bank: modules quantised for earlier plans.
    """

    denoiser: Denoiser
    sinks: SinkProfile
    bank: WeightBank

    def keep(self, plan: CompressionPlan) -> KeptPlan:
        """A plan with what it keeps: what predictors take. Raises as `SinkProfile.kept_shares`."""
        return self.sinks.keep(plan)

    def compress(self, plan: CompressionPlan) -> CompressedDenoiser:
        """The model as a plan makes it compute: what an exporter takes. Raises as `compress`."""
        return compress(self.denoiser, plan, self.bank)

    def network(self, plan: CompressionPlan) -> tuple[Network, KeptShares]:
        """The network of a plan and what its layers keep: what losses and backends take."""
        return self.compress(plan).network, self.keep(plan).kept
