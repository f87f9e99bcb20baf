"""What forecasts are made of: passes over one block, as they were seen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]
Tokens = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BlockPasses:
    """All passes over one block of one sample, in order: what a forecast is fitted on.

    Attributes:
        tokens: of the block as each pass saw it, ``[passes, block]``; what is masked counts for nothing.
        masked: which of it was masked then, ``[passes, block]``.
        logits: what each pass put out, ``[passes, block, vocab]``.
        hidden: the final hidden states that these are of, ``[passes, block, width]``; None where
            nobody looks at them.
    """

    tokens: Tokens
    masked: Mask
    logits: Floats
    hidden: Floats | None


class Foreseen(NamedTuple):
    """A forecast of the next pass.

    Attributes:
        logits: ``[batch, block, vocab]``.
        trusted: samples whose bin passed its gate, ``[batch]``.
    """

    logits: Floats
    trusted: Mask


class Forecaster(Protocol):
    """Foresees the next pass over a block. It holds one generation of one batch."""

    def begin(self) -> None:
        """A new block begins: no pass has been over it."""

    def see(self, logits: Floats, hidden: Floats | None, masked: Mask) -> None:
        """A pass was made.

        Args:
            logits: what it put out, ``[batch, block, vocab]``.
            hidden: the final hidden states that these are of, ``[batch, block, width]``.
            masked: what was masked when it ran, ``[batch, block]``.
        """

    def foresee(self, tokens: Tokens, masked: Mask) -> Foreseen:
        """What the next pass would put out, with what has been written since the last one.

        Args:
            tokens: of the block as they stand, ``[batch, block]``.
            masked: which of it is masked still, ``[batch, block]``.
        """


class FittedForecast(Protocol):
    """What a fit gives: arrays, and forecasters that share them."""

    def forecaster(self) -> Forecaster:
        """A forecaster for one generation."""
