"""Copying: a token that stands in the block becomes likelier at masks that are about to repeat it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsearch.forecast.methods.features import tokens_around
from hwsearch.forecast.methods.method import centred, changed_at_masks
from hwsearch.forecast.passes import BlockPasses, Floats
from hwsearch.forecast.situation import Memory, Situation, transitions

Doubles = NDArray[np.float64]


class CopiedTokens:
    """Raises the logits of tokens that stand in the block, at each mask by where they stand.

    Idea: much of what a pass writes repeats what stands near it, and a mask's state tells from where it
    will: three positions back, say. So the logit of a token that stands so far from a mask changes by
    a linear function of the mask's state, one function a distance, whichever token it is. Limits: it
    sees the block alone, and takes no account of a token that stands there twice.

    Args:
        bias: for each distance, ``[2 block - 1]``; the middle one is 0, the first ``1 - block``.
        state: of the mask's final hidden state, ``[2 block - 1, width]``.
    """

    memory = Memory(hidden=True)

    def __init__(self, bias: Floats, state: Floats) -> None:
        self.bias, self.state = bias, state

    @classmethod
    def fit(cls, penalty: float, blocks: Sequence[BlockPasses]) -> CopiedTokens:
        """Fit each distance by itself, by ridge regression.

        Args:
            penalty: in pairs of a mask and a token whose state is of mean square, and teaches nothing.
            blocks: with hidden states.
        """
        hidden, pairs = _collected(blocks)
        block, width = blocks[0].masked.shape[1], hidden.shape[1]
        weight = penalty * max(float(np.square(hidden, dtype=np.float64).mean()), 1e-30)
        found = np.zeros((2 * block - 1, 1 + width))
        for distance in np.unique(pairs.distance):
            own = pairs.distance == distance
            inputs = hidden[pairs.mask[own]].astype(np.float64)
            found[distance] = _ridge(inputs, pairs.change[own], penalty, weight)
        return cls(found[:, 0].astype(np.float32), found[:, 1:].astype(np.float32))

    def add_to(self, change: Floats, situation: Situation) -> None:
        """Add to changes ``[masks, vocab]`` in place."""
        assert situation.hidden is not None, "the method asks for hidden states"
        pairs = _pairs(situation, reach=len(self.bias) // 2)
        gates = situation.hidden[situation.masked] @ self.state.T + self.bias
        np.add.at(change, (pairs.mask, pairs.token), gates[pairs.mask, pairs.distance])


class _Pairs(NamedTuple):
    """Masks and tokens that stand in their blocks, one row a pair.

    Attributes:
        mask: which mask.
        token: the token.
        distance: its position less the mask's, as a place in the weights.
    """

    mask: NDArray[np.int64]
    token: NDArray[np.int64]
    distance: NDArray[np.int64]


def _pairs(situation: Situation, reach: int) -> _Pairs:
    """All pairs of a situation that are no further apart than `reach`."""
    samples, positions = np.nonzero(situation.masked)
    away = np.arange(situation.masked.shape[1]) - positions[:, None]
    mask, place = np.nonzero(~situation.masked[samples] & (abs(away) <= reach))
    return _Pairs(mask, tokens_around(situation)[mask, place], away[mask, place] + reach)


class _Changes(NamedTuple):
    """By how much the logit of each pair's token changed at its mask."""

    mask: NDArray[np.int64]
    distance: NDArray[np.int64]
    change: Doubles


def _collected(blocks: Sequence[BlockPasses]) -> tuple[Floats, _Changes]:
    """Hidden states of all masks that were left, ``[masks, width]``, and their pairs."""
    hidden, rows, count = [], [], 0
    for situation, target in transitions(blocks, CopiedTokens.memory):
        assert situation.hidden is not None
        hidden.append(situation.hidden[situation.masked])
        change = centred(changed_at_masks(situation, target).astype(np.float64))
        mask, token, distance = _pairs(situation, reach=situation.masked.shape[1] - 1)
        rows.append((mask + count, distance, change[mask, token]))
        count += len(change)
    columns = (np.concatenate(column) for column in zip(*rows, strict=True))
    return np.concatenate(hidden), _Changes(*columns)


def _ridge(inputs: Doubles, changes: Doubles, constant: float, weight: float) -> Doubles:
    """Bias and weights ``[1 + width]``: of as many equations as there are pairs or inputs."""
    from scipy.linalg import solve

    scale = np.sqrt(weight / constant)  # so that the constant is penalised as all are
    seen = np.concatenate((np.full((len(inputs), 1), scale), inputs), axis=1)
    if len(seen) < seen.shape[1]:
        gram = seen @ seen.T
        gram[np.diag_indices_from(gram)] += weight
        found = seen.T @ solve(gram, changes, assume_a="pos")
    else:
        gram = seen.T @ seen
        gram[np.diag_indices_from(gram)] += weight
        found = solve(gram, seen.T @ changes, assume_a="pos")
    found[0] *= scale
    return np.asarray(found)
