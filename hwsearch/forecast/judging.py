"""How good forecasts are, by how much of the block is masked; and which bins are to be trusted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hwsearch.forecast.methods.method import ForecastMethod, bin_of, centred, changed_at_masks
from hwsearch.forecast.passes import BlockPasses, Floats, Mask
from hwsearch.forecast.settings import ForecastSettings
from hwsearch.forecast.situation import Situation, best_of, transitions


@dataclass(frozen=True)
class BinFigures:
    """How forecasts of passes that no fit has seen fared, in one bin of masked share.

    Attributes:
        masks: that were judged.
        change: how centred logits changed from one pass to the next: squares, summed.
        error: what the forecast missed of that: squares, summed.
        agreeing: masks whose most probable token the forecast had right.
        reuse_agreeing: masks where the pass before had it right already: the control.
        written: masks of which the forecast was surer than its threshold.
        right: those of them that it had right.
    """

    masks: int = 0
    change: float = 0.0
    error: float = 0.0
    agreeing: int = 0
    reuse_agreeing: int = 0
    written: int = 0
    right: int = 0

    @property
    def r2(self) -> float | None:
        """Share of the change that was foreseen: 0 for reuse; None where nothing changed."""
        return 1.0 - self.error / self.change if self.change else None

    @property
    def agreement(self) -> float | None:
        """Share of masks that the forecast had right; None where none was judged."""
        return _share(self.agreeing, self.masks)

    @property
    def reuse_agreement(self) -> float | None:
        """The same of the pass before, as it was."""
        return _share(self.reuse_agreeing, self.masks)

    @property
    def written_share(self) -> float | None:
        """Share of masks that would be written."""
        return _share(self.written, self.masks)

    @property
    def written_agreement(self) -> float | None:
        """Share of what would be written that is right; None where nothing would be."""
        return _share(self.right, self.written)

    def passes(self, settings: ForecastSettings) -> bool:
        """Whether forecasts are trusted in this bin."""
        explained, right = self.r2, self.written_agreement
        if explained is None or right is None:
            return False
        return explained >= settings.least_r2 and right >= settings.least_agreement


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


#: Sums of one transition's masks, in the order of `BinFigures`.
SUMS = tuple(BinFigures.__dataclass_fields__)


def judge(
    method: ForecastMethod, settings: ForecastSettings, blocks: Sequence[BlockPasses]
) -> tuple[BinFigures, ...]:
    """Forecast every pass over some blocks from those before it, and see what it said.

    Args:
        method: what forecasts.
        settings: its threshold and bins.
        blocks: that the method was not fitted on.

    Returns:
        Figures for each bin, that of the fewest masks first.
    """
    sums = np.zeros((settings.bins, len(SUMS)))
    for situation, target in transitions(blocks, method.memory):
        found = judged_masks(situation, method.changes(situation), target, settings.threshold)
        bins = bin_of(situation.masked, settings.bins)[np.nonzero(situation.masked)[0]]
        np.add.at(sums, bins, found)
    return tuple(figures_of(row) for row in sums)


def judged_masks(
    situation: Situation, change: Floats, target: Floats, threshold: float
) -> NDArray[np.float64]:
    """What `BinFigures` sums, for each mask by itself: ``[masks, sums]``.

    Args:
        situation: what the forecast was made from.
        change: that it foresees, ``[masks, vocab]``.
        target: logits of the next pass, ``[batch, block, vocab]``.
        threshold: forecast probability above which a token would be written.
    """
    newest = situation.logits[0][situation.masked]
    true = centred(changed_at_masks(situation, target).astype(np.float64))
    token, sure = best_of(newest + change)
    chosen = target[situation.masked].argmax(axis=-1)
    agrees, written = token == chosen, sure > threshold
    columns = {
        "masks": np.ones(len(newest)),
        "change": (true**2).sum(axis=-1),
        "error": ((true - centred(change)) ** 2).sum(axis=-1),
        "agreeing": agrees,
        "reuse_agreeing": newest.argmax(axis=-1) == chosen,
        "written": written,
        "right": agrees & written,
    }
    return np.stack([columns[name].astype(np.float64) for name in SUMS], axis=1)


def figures_of(sums: NDArray[np.float64]) -> BinFigures:
    """Figures from their sums ``[sums]``."""
    masks, change, error, *counts = sums.tolist()
    return BinFigures(int(masks), change, error, *map(int, counts))


def open_gates(figures: Sequence[BinFigures], settings: ForecastSettings) -> Mask:
    """Which bins are trusted, ``[bins]``."""
    return np.array([one.passes(settings) for one in figures], dtype=np.bool_)
