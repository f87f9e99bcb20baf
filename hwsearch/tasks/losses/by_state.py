"""A loss computed state by state, so that it can be watched, and left before its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

Part = TypeVar("Part")


@dataclass(frozen=True)
class StateLoss:
    """One frozen state's part in a loss.

    Attributes:
        loss: mean loss on this state alone, in the loss's unit.
        weight: its share in the whole; the weights of all states add up to 1.
        work: work of this state, in full passes over one sequence.
        so_far: the loss as it would be if the states up to this one were all; after the last
            state, the whole loss to the bit.
    """

    loss: float
    weight: float
    work: float
    so_far: float


def in_turn(
    order: Sequence[int],
    measure: Callable[[int], Part],
    describe: Callable[[Part], tuple[float, float, float]],
    total: Callable[[Sequence[Part]], float],
) -> Iterator[StateLoss]:
    """Measure states in some order, and say what each adds.

    Sums run in the states' own order, whatever the order they were measured in, so that the last
    total does not depend on it.

    Args:
        order: every state's index once.
        measure: what is kept of a state, by its index.
        describe: mean loss, weight and work of what `measure` gave.
        total: the loss of some states.
    """
    parts: dict[int, Part] = {}
    for index in order:
        parts[index] = measure(index)
        so_far = total([parts[known] for known in sorted(parts)])
        yield StateLoss(*describe(parts[index]), so_far)


def shuffled(count: int, seed: int = 0) -> list[int]:
    """A fixed order without regard to the states' lengths.

    >>> sorted(shuffled(5)) == [0, 1, 2, 3, 4]
    True
    """
    return np.random.default_rng((seed, count)).permutation(count).tolist()


def last(losses: Iterator[StateLoss]) -> float:
    """The whole loss."""
    *_, final = losses
    return final.so_far
