"""A few states that stand for many, chosen without ever comparing all with all."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import PlanError
from hwsearch.forecast.passes import Floats
from hwsearch.forecast.settings import Golden


class Coreset(NamedTuple):
    """States that stand for others.

    Attributes:
        states: ``[coreset, numbers]``.
        values: what belongs to each, ``[coreset, values]``.
        shares: how many states each stands for, ``[coreset]``.
    """

    states: Floats
    values: Floats
    shares: Floats


def coreset_of(settings: Golden, states: Floats, values: Floats, seed: int) -> Coreset:
    """Choose a coreset; memory grows with the states and with the coreset, never with their product.

    Args:
        settings: how many, and how they are chosen.
        states: ``[states, numbers]``.
        values: what belongs to each, ``[states, values]``.
        seed: of all chance.

    Raises:
        PlanError: the coreset is larger than the states.
    """
    if settings.coreset > len(states):
        raise PlanError(
            f"a coreset of {settings.coreset} states needs as many to choose from, and there are "
            f"{len(states)}; take coreset {len(states)} or less, or more calibration problems"
        )
    if settings.choose == "k-means":
        return _means(states, values, settings.coreset, seed)
    choose = _far_apart if settings.choose == "k-centre" else _by_leverage
    chosen = choose(states, settings.coreset, np.random.default_rng(seed))
    shares = np.ones(settings.coreset, dtype=np.float32)
    return Coreset(states[chosen], values[chosen], shares)


def _means(states: Floats, values: Floats, count: int, seed: int) -> Coreset:
    """Means of clusters, and of what belongs to their members (Lloyd's k-means)."""
    from scipy.cluster.vq import kmeans2

    first = states[np.random.default_rng(seed).permutation(len(states))[:count]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some clusters lose all their members, and are left out
        _, labels = kmeans2(states, first.copy(), minit="matrix", missing="warn")
    _, members = np.unique(labels, return_inverse=True)
    sizes = np.bincount(members)
    sums = np.zeros((len(sizes), states.shape[1])), np.zeros((len(sizes), values.shape[1]))
    np.add.at(sums[0], members, states)
    np.add.at(sums[1], members, values)
    means = [(one / sizes[:, None]).astype(np.float32) for one in sums]
    return Coreset(means[0], means[1], sizes.astype(np.float32))


def _far_apart(states: Floats, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Each the furthest from all before it (T. F. Gonzalez's k-centre, 1985)."""
    chosen = np.empty(count, dtype=np.int64)
    chosen[0] = rng.integers(len(states))
    distance = np.full(len(states), np.inf)
    for place in range(1, count):
        distance = np.minimum(distance, ((states - states[chosen[place - 1]]) ** 2).sum(axis=1))
        distance[chosen[:place]] = -1.0  # of equal states, each once
        chosen[place] = distance.argmax()
    return chosen


def _by_leverage(states: Floats, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Drawn by how much of a regression hangs on each: ``x' (X' X)^-1 x``."""
    wide = states.astype(np.float64)
    scores = np.einsum("nr,nr->n", wide @ np.linalg.pinv(wide.T @ wide, hermitian=True), wide)
    # none is without a chance, so that there are always enough
    chances = np.maximum(scores, 0.0) + 1.0 / len(states)
    chosen: NDArray[np.int64] = rng.choice(
        len(states), count, replace=False, p=chances / chances.sum()
    )
    return chosen
