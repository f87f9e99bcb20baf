"""A forecaster of one generation: it remembers passes and asks a fitted method."""

from __future__ import annotations

import numpy as np

from hwsearch.forecast.methods.method import ForecastMethod, bin_of
from hwsearch.forecast.passes import Floats, Foreseen, Mask, Tokens
from hwsearch.forecast.situation import Best, Situation, best_of


class MethodForecaster:
    """Foresees the next pass over a block by a fitted method.

    Args:
        method: what says how logits change.
        trusted: bins of masked share whose gate is open, ``[bins]``.
    """

    def __init__(self, method: ForecastMethod, trusted: Mask) -> None:
        self._method = method
        self._trusted = trusted
        self.begin()

    def begin(self) -> None:
        """A new block begins: no pass has been over it."""
        self._logits: tuple[Floats, ...] = ()
        self._best: tuple[Best, ...] = ()
        self._hidden: Floats | None = None
        self._seen: Mask | None = None

    def see(self, logits: Floats, hidden: Floats | None, masked: Mask) -> None:
        """A pass was made; see `hwsearch.forecast.passes.Forecaster.see`."""
        memory = self._method.memory
        self._logits = (logits, *self._logits)[: memory.logits]
        self._hidden = hidden if memory.hidden else None
        if memory.best:
            self._best = (best_of(logits), *self._best)
        self._seen = masked.copy()

    def foresee(self, tokens: Tokens, masked: Mask) -> Foreseen:
        """What the next pass would put out; see `hwsearch.forecast.passes.Forecaster.foresee`.

        Where nothing is masked, or the gate is shut, logits are those of the last pass.

        Raises:
            ValueError: no pass over this block was seen.
        """
        if self._seen is None:
            raise ValueError("a forecast needs a pass over the block to go by")
        trusted = self._trusted[bin_of(masked, len(self._trusted))] & masked.any(axis=1)
        newest = self._logits[0]
        if not trusted.any():
            return Foreseen(newest, trusted)
        situation = Situation(self._logits, self._hidden, self._best, self._seen, tokens, masked)
        change = self._method.changes(situation)
        samples, positions = np.nonzero(masked)
        open_ = trusted[samples]
        logits = newest.copy()
        logits[samples[open_], positions[open_]] += change[open_]
        return Foreseen(logits, trusted)
