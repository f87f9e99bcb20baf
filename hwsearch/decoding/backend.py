"""What a decoder needs of a model: two passes, and nothing about how they are computed."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]


class Prediction(NamedTuple):
    """A model's guess for every position of one block.

    Attributes:
        tokens: the most probable token, ``[batch, block]``.
        confidence: its softmax probability, ``[batch, block]``.
    """

    tokens: Tokens
    confidence: NDArray[np.float32]


class Backend(Protocol):
    """A denoiser, ready to be decoded. Logits never leave it."""

    def begin(self) -> None:
        """Called before each generation: forget everything about the one before."""

    def refresh(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        """Run all positions of ``tokens [batch, length]``; predict positions start..stop.

        Fills the cache of keys and values and updates each layer's sink scores.
        """

    def step(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        """Run only positions start..stop of ``tokens [batch, length]``, against the cache.

        The cache is that of the last refresh, shortened to the positions each layer keeps.
        """
