"""Low rank: how logits will change, from the masks' states and what was written around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import PlanError
from hwsearch.forecast.methods.copying import CopiedTokens
from hwsearch.forecast.methods.features import RELATIONS, features, groups, relations, tokens_around
from hwsearch.forecast.methods.method import centred, changed_at_masks
from hwsearch.forecast.passes import BlockPasses, Floats
from hwsearch.forecast.settings import Golden, LowRank
from hwsearch.forecast.situation import Memory, Situation, transitions

Doubles = NDArray[np.float64]


class ChangedLogits:
    """Changes logits by a map of low rank, its part that looks at tokens multiplied out to tables.

    Idea: what a pass has computed for a mask is in its final hidden state; what it could not know is
    which tokens it would write. A ridge regression from both to the change of the logits is cut to
    the few directions that explain most of what it foresees (reduced-rank regression, A. J.
    Izenman, 1975; the ridge form of Mukherjee and Zhu, 2011). Limits: it adds up what it sees, and a
    token that means one thing beside one state and another beside the next is beyond it, but for
    tokens that are repeated, which `hwsearch.forecast.methods.copying` sees to.

    Args:
        copied: what is added for tokens that masks repeat, beside the map; None for nothing.
        bias: ``[rank]``.
        state: of the mask's final hidden state, ``[width, rank]``.
        written: for each relation what a token there adds, ``[relations, vocab, rank]``.
        up: from the few numbers to logits, orthonormal rows, ``[rank, vocab]``.
    """

    memory = Memory(hidden=True)

    def __init__(
        self,
        copied: CopiedTokens | None,
        bias: Floats,
        state: Floats,
        written: Floats,
        up: Floats,
    ) -> None:
        self._bias, self._state, self._written, self._up = bias, state, written, up
        self._copied = copied

    @classmethod
    def fit(
        cls, settings: LowRank | Golden, blocks: Sequence[BlockPasses], embeddings: Floats
    ) -> ChangedLogits:
        """Fit a map to the transitions of some blocks.

        Raises:
            PlanError: the rank is above the features, or above the vocabulary.
            InputError: the passes hold no hidden states.
        """
        penalty = settings.copy_penalty
        copied = None if penalty is None else CopiedTokens.fit(penalty, blocks)
        gram, cross = _products(blocks, embeddings, copied)
        most = min(cross.shape)
        if settings.rank > most:
            raise PlanError(
                f"a forecast of rank {settings.rank} needs as many features and tokens, and there are "
                f"{cross.shape[0]} and {cross.shape[1]}; take rank {most} or less"
            )
        sizes = groups(len(gram) - sum(groups(0, embeddings.shape[1])), embeddings.shape[1])
        down, up = _reduced(_penalised(gram, sizes, settings.penalty), cross, settings.rank)
        bias, state, written = np.split(down, np.cumsum(sizes[:2]))
        table = np.concatenate((np.ones((len(embeddings), 1)), embeddings), axis=1)
        tables = np.matmul(table, written.reshape(len(RELATIONS), -1, settings.rank))
        return cls(copied, *(one.astype(np.float32) for one in (bias[0], state, tables, up)))

    def numbers(self, situation: Situation) -> Floats:
        """The few numbers of each mask, ``[masks, rank]``."""
        assert situation.hidden is not None, "the method asks for hidden states"
        tokens = tokens_around(situation)
        found = self._bias + situation.hidden[situation.masked] @ self._state
        for weights, table in zip(relations(situation), self._written, strict=True):
            # most positions have no weight: their rows of the table are left where they are
            masks, places = np.nonzero(weights)
            rows = table[tokens[masks, places]] * weights[masks, places, None]
            np.add.at(found, masks, rows)
        return found

    def changes(self, situation: Situation) -> Floats:
        """See `hwsearch.forecast.methods.method.ForecastMethod.changes`."""
        return self.changes_of(self.numbers(situation), situation)

    def changes_of(self, numbers: Floats, situation: Situation) -> Floats:
        """The changes where masks have such numbers, ``[masks, vocab]``."""
        change: Floats = np.matmul(numbers, self._up)
        if self._copied is not None:
            self._copied.add_to(change, situation)
        return change

    def true_numbers(self, situation: Situation, target: Floats) -> Floats:
        """The numbers that come nearest to how logits did change, ``[masks, rank]``."""
        change = _left_to_the_map(situation, target, self._copied)
        numbers: Floats = (change @ self._up.T).astype(np.float32)
        return numbers

    def arrays(self) -> Mapping[str, NDArray[Any]]:
        """The map."""
        arrays = {
            "bias": self._bias,
            "state": self._state,
            "written": self._written,
            "up": self._up,
        }
        if self._copied is not None:
            arrays |= {"copy_bias": self._copied.bias, "copy_state": self._copied.state}
        return arrays


def _left_to_the_map(situation: Situation, target: Floats, copied: CopiedTokens | None) -> Doubles:
    """How centred logits changed at masks, less what was copied, ``[masks, vocab]``."""
    change = changed_at_masks(situation, target)
    if copied is not None:
        repeated = np.zeros_like(change)
        copied.add_to(repeated, situation)
        change = change - repeated
    return centred(change.astype(np.float64))


def _products(
    blocks: Sequence[BlockPasses], embeddings: Floats, copied: CopiedTokens | None
) -> tuple[Doubles, Doubles]:
    """Features times features, and features times what is left to the map, over all masks."""
    gram: Doubles | None = None
    cross: Doubles | None = None
    for situation, target in transitions(blocks, ChangedLogits.memory):
        seen = features(situation, embeddings).astype(np.float64)
        change = _left_to_the_map(situation, target, copied)
        gram = seen.T @ seen + (0.0 if gram is None else gram)
        cross = seen.T @ change + (0.0 if cross is None else cross)
    assert gram is not None and cross is not None, "there is something to fit on"
    return gram, cross


def _penalised(gram: Doubles, sizes: Sequence[int], penalty: float) -> Doubles:
    """The products with a penalty on each feature: a share of what its group is on average.

    A group for itself, so that states, which are large, do not leave tokens without a say.
    """
    # the smallest that keeps a system solvable in which features follow from each other
    share = max(penalty, np.finfo(np.float64).eps * len(gram) ** 2)
    squares = np.split(gram.diagonal(), np.cumsum(sizes)[:-1])
    means = [np.maximum(own.mean(), np.finfo(np.float32).tiny) for own in squares]
    penalised = gram.copy()
    penalised[np.diag_indices_from(gram)] += share * np.repeat(np.array(means), sizes)
    return penalised


def _reduced(gram: Doubles, cross: Doubles, rank: int) -> tuple[Doubles, Doubles]:
    """The best map of a rank, as features to numbers and numbers to logits.

    With ``gram = R' R`` the whole map is ``B = gram^-1 cross``, and its best approximation in what is
    minimised is ``B V V'``, V being the first right singular vectors of ``R B``.
    """
    from scipy.linalg import cholesky, eigh, solve_triangular

    upper = cholesky(gram)
    fitted: Doubles = solve_triangular(upper, cross, trans="T")  # R B
    small = fitted if len(fitted) < fitted.shape[1] else fitted.T
    size = len(small)
    largest = [size - rank, size - 1]
    found = eigh(np.matmul(small, small.T), eigvals_only=False, subset_by_index=largest)
    vectors: Doubles = np.flip(found[1], axis=1)  # by falling weight
    # from left singular vectors the right ones follow
    right = vectors if small is not fitted else np.linalg.qr(np.matmul(fitted.T, vectors))[0]
    down: Doubles = solve_triangular(upper, np.matmul(fitted, right))
    return down, right.T
