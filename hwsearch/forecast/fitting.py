"""Fits a forecast to the passes of calibration generations, and judges it on some held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hwsearch.errors import InputError
from hwsearch.forecast.forecaster import MethodForecaster
from hwsearch.forecast.judging import BinFigures, judge, open_gates
from hwsearch.forecast.methods.golden import CorrectedLogits
from hwsearch.forecast.methods.history import CreditedLogits
from hwsearch.forecast.methods.low_rank import ChangedLogits
from hwsearch.forecast.methods.method import ForecastMethod
from hwsearch.forecast.methods.reuse import ReusedLogits
from hwsearch.forecast.methods.ridge import CombinedLogits
from hwsearch.forecast.passes import BlockPasses, Floats
from hwsearch.forecast.settings import ForecastSettings, Golden, History, LowRank, Ridge
from hwsearch.forecast.situation import Memory, checked_passes


@dataclass(frozen=True, eq=False)
class JudgedForecast:
    """A fitted forecast and how it was judged; a `hwsearch.forecast.passes.FittedForecast`.

    Attributes:
        settings: the method and its numbers.
        method: what was fitted; reuse where there was nothing to fit on, and no gate is open.
        figures: of the held-out blocks, one of each bin, that of the fewest masks first.
        belongs_to: digest of what it was fitted on; see `hwsearch.forecast.store`.
    """

    settings: ForecastSettings
    method: ForecastMethod
    figures: tuple[BinFigures, ...]
    belongs_to: str = ""

    @property
    def trusted(self) -> tuple[bool, ...]:
        """For each bin whether its gate is open."""
        return tuple(open_gates(self.figures, self.settings).tolist())

    def rows(self) -> list[dict[str, float | bool | None]]:
        """How it was judged, a row a bin, for tables and JSON; None where nothing was judged."""
        return [
            {
                "masked_above": place / len(self.figures),
                "masked_up_to": (place + 1) / len(self.figures),
                "masks": one.masks,
                "r2": one.r2,
                "agreement": one.agreement,
                "reuse_agreement": one.reuse_agreement,
                "written_share": one.written_share,
                "written_agreement": one.written_agreement,
                "trusted": trusted,
            }
            for place, (one, trusted) in enumerate(zip(self.figures, self.trusted, strict=True))
        ]

    def forecaster(self) -> MethodForecaster:
        """A forecaster for one generation."""
        return MethodForecaster(self.method, open_gates(self.figures, self.settings))


def fit(
    settings: ForecastSettings,
    blocks: Sequence[BlockPasses],
    embeddings: Floats | None = None,
    *,
    held_out_share: float = 0.25,
    seed: int = 0,
    belongs_to: str = "",
) -> JudgedForecast:
    """Fit a forecast, and open its gates where it fares well on blocks that the fit has not seen.

    Blocks, not masks, are held out, since masks of one block are forecast from the same state. Where
    no pass follows another over a block that has masks left, no gate is opened: there is nothing to
    forecast, as with a threshold so low that each block takes one pass. The method is then
    that of reuse.

    Args:
        settings: the method and its numbers.
        blocks: passes over blocks of calibration generations.
        embeddings: of the model's tokens, ``[vocab, width]``, for methods that look at tokens.
        held_out_share: of the blocks that have something to forecast, for judging.
        seed: which those are, and of all chance in the fit.
        belongs_to: digest of what the passes come from, kept with the fit.

    Raises:
        InputError: passes are malformed or not finite numbers, or something is missing that the
            method looks at.
        PlanError: a rank or coreset that is larger than what there is.
    """
    if not 0.0 < held_out_share < 1.0:
        raise InputError(f"held_out_share is above 0 and below 1, got {held_out_share}")
    checked_passes(blocks, Memory(hidden=settings.needs_hidden))
    going_on = [block for block in blocks if block.masked[1:].any()]
    fitted_on, held_out = _split(going_on, held_out_share, seed)
    if not fitted_on or not held_out:
        nothing = (BinFigures(),) * settings.bins
        return JudgedForecast(settings, ReusedLogits(), nothing, belongs_to)
    method = _fitted(settings, fitted_on, embeddings, seed)
    return JudgedForecast(settings, method, judge(method, settings, held_out), belongs_to)


def _split(
    blocks: Sequence[BlockPasses], held_out_share: float, seed: int
) -> tuple[list[BlockPasses], list[BlockPasses]]:
    """Blocks to fit on and blocks to judge on, one at least of each if there are two."""
    order = np.random.default_rng(seed).permutation(len(blocks))
    count = round(held_out_share * len(blocks))
    count = min(max(count, 1), len(blocks) - 1) if len(blocks) > 1 else 0
    shuffled = [blocks[place] for place in order]
    return shuffled[count:], shuffled[:count]


def _fitted(
    settings: ForecastSettings, blocks: Sequence[BlockPasses], embeddings: Floats | None, seed: int
) -> ForecastMethod:
    """A method fitted to blocks."""
    if isinstance(settings, History):
        return CreditedLogits(settings)
    if isinstance(settings, Ridge):
        return CombinedLogits.fit(settings, blocks)
    if isinstance(settings, LowRank):
        return ChangedLogits.fit(settings, blocks, _checked(embeddings, blocks))
    if isinstance(settings, Golden):
        return CorrectedLogits.fit(settings, blocks, _checked(embeddings, blocks), seed)
    return ReusedLogits()


def _checked(embeddings: Floats | None, blocks: Sequence[BlockPasses]) -> Floats:
    """Embeddings that every written token has one of."""
    if embeddings is None:
        raise InputError("this forecast looks at tokens, and needs their embeddings")
    if embeddings.ndim != 2 or not np.isfinite(embeddings).all():
        raise InputError(f"embeddings are [vocab, width], all finite; got {embeddings.shape}")
    tokens = [block.tokens[~block.masked] for block in blocks]
    lowest = min((int(own.min()) for own in tokens if own.size), default=0)
    highest = max((int(own.max()) for own in tokens if own.size), default=0)
    known = min(len(embeddings), blocks[0].logits.shape[2])
    if lowest < 0 or highest >= known:
        raise InputError(
            f"passes hold tokens {lowest} to {highest}, and there are embeddings or logits of {known}"
        )
    return embeddings
