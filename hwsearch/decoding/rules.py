"""Which cached positions a layer keeps between two refreshes.

A rule scores positions; the layer keeps those of highest score, exactly as many as its kept share
says, so that shapes and latency of a plan are known before it runs. Plain numpy, so that torch and
onnxruntime keep the same positions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.cache import Floats, SinkHistory, kept_count
from hwsearch.decoding.kept import FIRST, KeptShares, Signal
from hwsearch.plan import CacheRule

#: Neighbours whose best score counts for a position under ``mean-query`` (Sparse-dLLM's pooling).
POOL = 3


class PositionKeeper:
    """Which positions one layer keeps, over one generation.

    Idea: in a masked-diffusion model the positions that draw attention wander from pass to pass, so
    one pass tells little, and a running score of all refreshes tells what will be needed until the
    next. Steps: `see` each refresh, then `choose` as many positions of best score as the kept share
    says. Limits: what happens between refreshes is not seen. Sources: each rule of
    `hwsearch.plan.CacheRule` names its own; the wandering is measured in arXiv 2602.17664.

    Args:
        kept: the shares and the rule.
        layer: which layer this is.
        history: what the layer has seen before; None starts anew.
    """

    def __init__(self, kept: KeptShares, layer: int, history: SinkHistory | None = None) -> None:
        self.kept = kept
        self.layer = layer
        self.history = history
        self._begun = 0 if history is None else history.passes
        self._signal: NDArray[np.float32] | None = None

    def refresh(
        self,
        shape: tuple[int, int],
        start: int,
        stop: int,
        signal: NDArray[np.float32] | None = None,
    ) -> NDArray[np.int64]:
        """`see` a refresh of ``[batch, length]`` and `choose` outside of start..stop."""
        self.see(shape, signal)
        return self.choose(shape, start, stop)

    def see(
        self, shape: tuple[int, int], signal: NDArray[np.float32] | None = None, tail: int = 1
    ) -> None:
        """Count one refresh.

        Args:
            shape: batch and length.
            signal: attention mass of each position, or its product with the block's mean query,
                whichever the rule looks at, ``[batch, length]``; None where it looks at neither.
            tail: last positions that stay the last; see `hwsearch.decoding.passes.Scope`.
        """
        before = self.history or SinkHistory.blank(*shape)
        if before.hits.shape[1] != shape[1]:
            before = before.resized(shape[1], tail)
        if self.layer in self.kept.layers_with(Signal.MASS):
            assert signal is not None, "the rule looks at attention mass"
            self.history = before.seen(signal)
        else:
            self.history = replace(before, passes=before.passes + 1)
        self._signal = signal
        self._begun += 1

    def advance(self, length: int, tail: int = 1) -> None:
        """Count a block that began without a refresh, in a sequence that may have grown."""
        assert self.history is not None, "a refresh comes first"
        self.history = self.history.resized(length, tail)
        self._begun += 1

    def choose(self, shape: tuple[int, int], start: int, stop: int) -> NDArray[np.int64]:
        """What to keep until the next refresh.

        Args:
            shape: batch and length.
            start: first position that the steps run.
            stop: position after the last.

        Returns:
            Kept positions ``[batch, kept]`` outside start..stop, ascending.
        """
        outside = shape[1] - (stop - start)
        count = min(outside, kept_count(self.kept.at(self.layer, self._begun - 1), outside))
        score = self._scores(shape, start, stop, count)
        score[:, start:stop] = -np.inf
        return best_positions(score, count)

    def _scores(self, shape: tuple[int, int], start: int, stop: int, count: int) -> Floats:
        """Scores ``[batch, length]`` of positions, as the rule gives them."""
        assert self.history is not None, "a refresh comes first"
        policy, (batch, length) = self.kept.policy, shape
        if not policy.running:
            assert self.kept.static is not None
            return np.tile(self.kept.static.of(self.layer, length), (batch, 1))
        if policy.rule is CacheRule.RANDOM:
            # of layer and length alone, so that a batch, and onnxruntime, draw as one sample does
            drawn = np.random.default_rng([self.layer, length]).random(length)
            return np.tile(drawn, (batch, 1))
        if policy.rule is CacheRule.RECENT:
            return np.tile(recency(length, start, stop), (batch, 1))
        if policy.rule is CacheRule.MEAN_QUERY:
            assert self._signal is not None, "the rule looks at the block's mean query"
            return pooled(self._signal.astype(np.float64), start, stop)
        if policy.rule is CacheRule.AR_PRESERVE:
            return preserving(self.history.mass, start, stop, count)
        return SINK_SCORES[policy.rule](self.history)


def best_positions(score: Floats, count: int) -> NDArray[np.int64]:
    """The `count` positions of highest score, ascending, ``[batch, count]``; ties go to the earlier."""
    best = np.argsort(-score, axis=1, kind="stable")[:, :count]
    return np.sort(best, axis=1)


def stability(history: SinkHistory) -> Floats:
    """By how often a position was a sink, ties by its mass; ``[batch, length]``."""
    # mass / total < 1, so it orders only positions of equal count
    return history.hits + _shares(history.mass)


def persistence(history: SinkHistory) -> Floats:
    """Mass, less what came and went: ``(1 - transience) mass``; ``[batch, length]``."""
    return (1.0 - history.transience) * _shares(history.mass)


def heaviness(history: SinkHistory) -> Floats:
    """Share of all mass so far; ``[batch, length]``."""
    return _shares(history.mass)


#: Scores of the rules that need nothing but the history.
SINK_SCORES: dict[CacheRule, Callable[[SinkHistory], Floats]] = {
    CacheRule.KEEP_STABLE: stability,
    CacheRule.DROP_TRANSIENT: persistence,
    CacheRule.MASS: heaviness,
}


def recency(length: int, start: int, stop: int) -> Floats:
    """Nearest to the block first, and what is before it first at equal distance; ``[length]``."""
    position = np.arange(length)
    distance = np.where(position < start, start - position, position - stop + 1.5)
    return -distance.astype(np.float64)


def preserving(mass: Floats, start: int, stop: int, count: int) -> Floats:
    """The first tokens, then the strongest sinks, then the most recent positions.

    What autoregressive models are pruned by: the first tokens stay always (StreamingLLM, arXiv
    2309.17453), half of the room is for the heaviest (H2O, arXiv 2306.14048), the rest is a window.
    """
    length = mass.shape[1]
    score = np.tile(recency(length, start, stop), (len(mass), 1))
    inside = np.zeros(length, dtype=bool)
    inside[start:stop] = True
    heavy = best_positions(np.where(inside, -np.inf, mass), count // 2)
    np.put_along_axis(score, heavy, 1.0, axis=1)
    score[:, :FIRST] = 2.0
    return score


def pooled(product: Floats, start: int, stop: int) -> Floats:
    """Products with the block's mean query, each position taking its best neighbour's.

    Neighbours are counted with the block cut out (Sparse-dLLM, arXiv 2508.02558).
    """
    around = np.delete(product, np.s_[start:stop], axis=1)
    padded = np.pad(around, ((0, 0), (POOL // 2,) * 2), constant_values=-np.inf)
    windows = np.lib.stride_tricks.sliding_window_view(padded, POOL, axis=1)
    score = np.full(product.shape, -np.inf)
    outer = np.r_[0:start, stop : product.shape[1]]
    score[:, outer] = windows.max(axis=-1)
    return score


def _shares(mass: Floats) -> Floats:
    return mass / (mass.sum(axis=1, keepdims=True) + 1e-30)
