"""States in which the uncompressed model looks at tokens that another network wrote.

A view says which tokens are hidden, and which of them are judged, for one decoded problem. Only tokens
of the text are: up to its first end token, and none that was never written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from hwsearch.tasks.losses.pricing.decoded import DecodedProblem


@dataclass(frozen=True, eq=False)
class JudgedState:
    """One full pass, and the tokens that are held against it.

    Attributes:
        tokens: what the pass sees, ``[length]``.
        judged: positions whose tokens are judged; all of them are masked in `tokens`.
        wrote: the tokens that were written there.
    """

    tokens: NDArray[np.int64]
    judged: NDArray[np.int64]
    wrote: NDArray[np.int64]

    @property
    def key(self) -> tuple[bytes, bytes, bytes]:
        """Equal where what is seen and what is judged are."""
        return self.tokens.tobytes(), self.judged.tobytes(), self.wrote.tobytes()


class View(Protocol):
    """Which states a text is judged in."""

    def states(self, problem: DecodedProblem, mask_token_id: int) -> list[JudgedState]:
        """States that together judge each token of the text once."""


@dataclass(frozen=True)
class SeenByPass:
    """What each pass saw that wrote a token: the plan's own trajectory.

    Blind to tokens that are wrong only together: each may be the best where the others are masks.
    """

    def states(self, problem: DecodedProblem, mask_token_id: int) -> list[JudgedState]:
        """One for each pass that wrote a token of the text."""
        written = problem.written[: problem.text_count]
        trajectory = problem.trajectory
        return [
            _state(
                problem,
                trajectory.seen_by(index, mask_token_id)[0],
                np.flatnonzero(written == index),
                mask_token_id,
            )
            for index in np.unique(written[written >= 0]).tolist()
        ]


@dataclass(frozen=True)
class EveryNth:
    """The finished text with every n-th token hidden, in n states: pseudo-likelihood.

    As Salazar et al. (arXiv 1910.14659) score texts with masked models, who hide one token at a
    time: `apart` None.

    Attributes:
        apart: distance of the hidden tokens; None hides one at a time.
    """

    apart: int | None = 4

    def states(self, problem: DecodedProblem, mask_token_id: int) -> list[JudgedState]:
        """At most `apart` states."""
        count = problem.text_count
        apart = min(self.apart or count, count)
        return [
            _state(problem, problem.finished, np.arange(first, count, apart), mask_token_id)
            for first in range(apart)
        ]


@dataclass(frozen=True)
class LeftToRight:
    """The text up to a token, all of it behind that hidden: the chain rule, taken `run` tokens at a time.

    With `run` 1 the sum is the likelihood of the text written in that order. Unlike `EveryNth` it
    does not find a wrong number confirmed by its repetition further on.

    Attributes:
        run: neighbours that are judged in one state.
    """

    run: int = 1

    def states(self, problem: DecodedProblem, mask_token_id: int) -> list[JudgedState]:
        """One for each run of tokens."""
        states = []
        for first in range(0, problem.text_count, self.run):
            tokens = problem.finished.copy()
            tokens[problem.blank.start + first : problem.blank.stop] = mask_token_id
            judged = np.arange(first, min(first + self.run, problem.text_count))
            states.append(_state(problem, tokens, judged, mask_token_id))
        return states


def _state(
    problem: DecodedProblem,
    tokens: NDArray[np.int64],
    judged: NDArray[np.int64],
    mask_token_id: int,
) -> JudgedState:
    """`tokens` with the judged places hidden; `judged` counts from the end of the prompt."""
    places = judged + problem.blank.start
    seen = tokens.copy()
    seen[places] = mask_token_id
    return JudgedState(seen, places, problem.finished[places])
