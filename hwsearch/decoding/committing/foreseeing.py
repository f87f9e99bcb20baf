"""Tokens that are written without a pass, because a forecast of that pass is sure of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.backend import Backend, Prediction, Tokens
from hwsearch.errors import InputError
from hwsearch.forecast.passes import FittedForecast, Forecaster
from hwsearch.forecast.settings import ForecastSettings
from hwsearch.forecast.situation import best_of
from hwsearch.plan import Decoding

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Draft:
    """What a forecast would write.

    Attributes:
        tokens: of the block, ``[batch, block]``.
        chosen: which of them the forecast is sure of, ``[batch, block]``.
    """

    tokens: Tokens
    chosen: Mask


class Foreseeing:
    """Drafts of one generation, from one pass over a block to the next.

    Args:
        settings: how sure a forecast must be.
        forecaster: foresees the passes.
    """

    def __init__(self, settings: ForecastSettings, forecaster: Forecaster) -> None:
        self.settings = settings
        self._forecaster = forecaster

    def begin(self) -> None:
        """A new block begins."""
        self._forecaster.begin()

    def see(self, found: Prediction, masked: Mask) -> None:
        """A pass was made over masks ``[batch, block]``."""
        assert found.logits is not None, "forecasts look at logits"
        self._forecaster.see(found.logits, found.hidden, masked)

    def draft(self, tokens: Tokens, masked: Mask) -> Draft:
        """What is foreseen for the masks that are left, after up to `depth` forecasts in a row.

        Args:
            tokens: of the block, ``[batch, block]``; left alone.
            masked: what of it may be written.
        """
        drafted, every = tokens.copy(), np.zeros_like(masked)
        for _ in range(self.settings.depth):
            left = masked & ~every
            if not left.any():
                break
            logits, trusted = self._forecaster.foresee(drafted, left)
            left &= trusted[:, None]
            best, probability = best_of(logits[left])  # of the masks alone, which are few
            sure = probability > self.settings.threshold
            if not sure.any():
                break
            samples, places = (index[sure] for index in np.nonzero(left))
            drafted[samples, places] = best[sure]
            every[samples, places] = True
        return Draft(drafted, every)


def foreseeing_of(decoding: Decoding, backend: Backend) -> Foreseeing | None:
    """What foresees the passes of a generation; None where the decoding asks for nothing.

    Raises:
        InputError: it does, and the backend's model has no forecast.
    """
    if decoding.forecast is None:
        return None
    fitted: FittedForecast | None = getattr(backend, "forecast", None)
    if fitted is None:
        raise InputError(
            f"this decoding foresees passes ({decoding.forecast.words}), and no forecast was fitted for "
            "the model; a search, `hwsearch export` and `Workbench.compress` fit one"
        )
    return Foreseeing(decoding.forecast, fitted.forecaster())
