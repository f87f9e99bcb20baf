"""What a map from a situation to a change looks at: the mask's own state, and what was written around it.

Tokens enter by how they lie to a mask: each *relation* weighs the positions of the block, and the
weighted sum of what stands there is seen. At run time a relation sums rows of a table, a row a token,
so that embeddings are multiplied out once and for all when the map is fitted.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from hwsearch.forecast.passes import Floats, Mask, Tokens
from hwsearch.forecast.situation import Situation

#: How tokens may lie to a mask: the nearest one written since the last pass on either side, and all
#: of them, the nearer ones more.
RELATIONS: Final = ("left", "right", "near")

#: What is left of the weight of a written token, from one position to the next.
FADING: Final = 0.7


def relations(situation: Situation) -> Floats:
    """Weights of a block's positions for each mask, ``[relations, masks, block]``."""
    written = situation.written
    samples, positions = np.nonzero(situation.masked)
    places = np.arange(written.shape[1])
    distance = np.abs(positions[:, None] - places)
    left, right = _nearest(written)
    weights = (
        places == left[samples, positions][:, None],
        places == right[samples, positions][:, None],
        np.where(written[samples], FADING ** (distance - 1.0), 0.0),
    )
    return np.stack([one.astype(np.float32) for one in weights])


def _nearest(written: Mask) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Nearest written position on either side of each position, ``[batch, block]``; -1 for none."""
    size = written.shape[1]
    places = np.arange(size)
    left = np.maximum.accumulate(np.where(written, places, -1), axis=1)
    right = np.minimum.accumulate(np.where(written, places, size)[:, ::-1], axis=1)[:, ::-1]
    return left, np.where(right == size, -1, right)


def tokens_around(situation: Situation) -> Tokens:
    """The block's tokens as each mask sees them, ``[masks, block]``; 0 where masks stand."""
    shown = np.where(situation.masked, 0, situation.tokens)
    around: Tokens = shown[np.nonzero(situation.masked)[0]]
    return around


def features(situation: Situation, embeddings: Floats) -> Floats:
    """All that a map sees at each mask, ``[masks, features]``.

    First a constant and the final hidden state; then for each relation the sum of its weights, by
    which a relation without a token differs from one whose token is like none, and its embeddings.

    Args:
        situation: with hidden states.
        embeddings: of the tokens, ``[vocab, width]``.
    """
    assert situation.hidden is not None, "the method asks for hidden states"
    hidden = situation.hidden[situation.masked]
    parts = [np.ones((len(hidden), 1), dtype=np.float32), hidden]
    around = embeddings[tokens_around(situation)]
    for weights in relations(situation):
        seen = np.einsum("nb,nbw->nw", weights, around)
        parts += [weights.sum(axis=1, keepdims=True), seen]
    return np.concatenate(parts, axis=1)


def groups(hidden_width: int, embedding_width: int) -> list[int]:
    """Features of each group, in the order of `features`: constant, state, each relation."""
    return [1, hidden_width] + [1 + embedding_width] * len(RELATIONS)
