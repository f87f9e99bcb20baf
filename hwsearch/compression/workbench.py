"""Where plans of one model are made ready to be judged, timed and exported."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

from hwsearch.compression.bank import WeightBank, compress
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.decoding.kept import KeptPlan, KeptShares
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.forecasts import ForecastFitter
from hwsearch.denoisers.network import Network
from hwsearch.errors import PlanError
from hwsearch.forecast.fitting import JudgedForecast
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
        fitter: fits forecasts for plans whose decoding foresees passes; None where none does.
    """

    denoiser: Denoiser
    sinks: SinkProfile
    bank: WeightBank
    fitter: ForecastFitter | None = None

    def keep(self, plan: CompressionPlan) -> KeptPlan:
        """A plan with what it keeps: what predictors take. Raises as `SinkProfile.kept_shares`."""
        return self.sinks.keep(plan)

    def compress(self, plan: CompressionPlan) -> CompressedDenoiser:
        """The model as a plan makes it compute: what an exporter takes. Raises as `compress`.

        Raises:
            PlanError: the plan foresees passes, and there is nothing to fit that on.
        """
        made = compress(self.denoiser, plan, self.bank)
        if made.decoding.forecast is None:
            return made
        known = self._forecasts.get(plan)
        if known is not None:
            return replace(made, network=made.network.foreseeing(known))
        made = foreseeing(made, self.keep(plan).kept, self.fitter)
        if made.network.forecast is not None:
            self._forecasts[plan] = made.network.forecast
        return made

    @cached_property
    def _forecasts(self) -> dict[CompressionPlan, JudgedForecast]:
        return {}

    def network(self, plan: CompressionPlan) -> tuple[Network, KeptShares]:
        """The network of a plan and what its layers keep: what losses and backends take."""
        return self.compress(plan).network, self.keep(plan).kept


def foreseeing(
    made: CompressedDenoiser, kept: KeptShares, fitter: ForecastFitter | None
) -> CompressedDenoiser:
    """A compressed model with the forecast that its decoding asks for, fitted on what it writes now.

    Args:
        made: the model, its plan applied.
        kept: what its layers keep.
        fitter: fits; None where no questions are at hand.

    Raises:
        PlanError: the decoding foresees passes, and there is nothing to fit that on.
    """
    if made.decoding.forecast is None:
        return made
    if fitter is None:
        raise PlanError(
            f"{made.decoding.forecast.words}: forecasts are fitted on answers to calibration "
            "questions, and there are none here; give a ForecastFitter(denoiser, questions)"
        )
    return replace(made, network=fitter.foreseeing(made.network, kept, made.decoding))
