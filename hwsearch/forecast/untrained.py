"""Methods of random numbers: they foresee nothing, and take as long as fitted ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hwsearch.forecast.forecaster import MethodForecaster
from hwsearch.forecast.methods.copying import CopiedTokens
from hwsearch.forecast.methods.coreset import Coreset
from hwsearch.forecast.methods.features import RELATIONS
from hwsearch.forecast.methods.golden import CorrectedLogits
from hwsearch.forecast.methods.history import CreditedLogits
from hwsearch.forecast.methods.low_rank import ChangedLogits
from hwsearch.forecast.methods.method import ForecastMethod
from hwsearch.forecast.methods.reuse import ReusedLogits
from hwsearch.forecast.methods.ridge import CombinedLogits
from hwsearch.forecast.passes import Floats
from hwsearch.forecast.settings import ForecastSettings, Golden, History, LowRank, Ridge


@dataclass(frozen=True, eq=False)
class UntrainedForecast:
    """A forecast that nothing was fitted for; a `hwsearch.forecast.passes.FittedForecast`.

    Attributes:
        settings: the method and its numbers.
        method: of random numbers.
    """

    settings: ForecastSettings
    method: ForecastMethod

    @classmethod
    def of(
        cls, settings: ForecastSettings, vocab_size: int, width: int, block_length: int
    ) -> UntrainedForecast:
        """A forecast for a model of some sizes.

        Args:
            settings: the method and its numbers.
            vocab_size: tokens that logits are of.
            width: of final hidden states.
            block_length: positions that a pass predicts.
        """
        rng = np.random.default_rng(0)

        def random(*shape: int) -> Floats:
            return rng.standard_normal(shape, dtype=np.float32)

        if isinstance(settings, History):
            return cls(settings, CreditedLogits(settings))
        if isinstance(settings, Ridge):
            return cls(
                settings, CombinedLogits(random(settings.bins, settings.passes, settings.passes))
            )
        if not isinstance(settings, LowRank | Golden):
            return cls(settings, ReusedLogits())
        rank, distances = settings.rank, 2 * block_length - 1
        copied = None
        if settings.copy_penalty is not None:
            copied = CopiedTokens(random(distances), random(distances, width))
        tables = random(len(RELATIONS), vocab_size, rank)
        found = ChangedLogits(
            copied, random(rank), random(width, rank), tables, random(rank, vocab_size)
        )
        if isinstance(settings, LowRank):
            return cls(settings, found)
        kept = settings.coreset
        coreset = Coreset(random(kept, rank), random(kept, rank), np.ones(kept, dtype=np.float32))
        return cls(settings, CorrectedLogits(found, coreset, settings.neighbours))

    def forecaster(self) -> MethodForecaster:
        """A forecaster for one generation, whose gates are all open."""
        return MethodForecaster(self.method, np.ones(self.settings.bins, dtype=bool))
