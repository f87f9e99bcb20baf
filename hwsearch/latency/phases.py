"""What choosing cached positions costs: signals that a refresh hands out, and kept shares by phase.

Kept shares change with the refreshes of a generation where a plan has phases (`CachePolicy`), so
steps of one generation differ. They are grouped by the factor of their kept shares: a generation is
then a sum over few kinds of steps, whatever the number of its refreshes.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import lru_cache

from hwsearch.decoding.kept import KeptShares, Signal, signal_of
from hwsearch.plan import CachePolicy


@dataclass(frozen=True)
class Caching:
    """How layers that drop cached positions choose them, as far as it takes time.

    Attributes:
        signal: what a refresh hands out for them.
        phases: factors of their kept shares, and the share of all steps that follows a refresh with
            that factor; of all refreshes, where there are no steps.
    """

    signal: Signal = Signal.MASS
    phases: tuple[tuple[float, float], ...] = ((1.0, 1.0),)

    @classmethod
    def of(cls, kept: KeptShares, steps_after: tuple[float, ...]) -> Caching:
        """That of kept shares where so many steps follow each refresh (`PassCounts.steps_after`)."""
        return _caching(kept.policy, kept.refreshes, steps_after)

    def signal_for(self, share: float) -> Signal:
        """What a layer of a kept share asks a refresh for; one that keeps all asks for nothing."""
        return self.signal if share < 1.0 else Signal.NONE

    def shares_of(self, share: float) -> list[tuple[float, float]]:
        """Shares that a layer really keeps, each with the share of the steps that see it."""
        if share == 1.0:
            return [(1.0, 1.0)]
        return [(min(1.0, factor * share), weight) for factor, weight in self.phases]


#: Layers that keep all positions, and those of plans that say nothing of the cache.
PLAIN = Caching()


@lru_cache(maxsize=1024)
def _caching(policy: CachePolicy, refreshes: int, steps_after: tuple[float, ...]) -> Caching:
    steps = steps_after if any(steps_after) else (1.0,) * len(steps_after)
    counts: defaultdict[float, float] = defaultdict(float)
    for refresh, count in enumerate(steps):
        counts[policy.scale(min(refresh, refreshes - 1), refreshes)] += count
    total = sum(steps)
    phases = tuple((factor, count / total) for factor, count in counts.items() if count)
    return Caching(signal_of(policy), phases)
