"""How much of the cache each layer keeps, and by which rule: a backend's part of a plan.

A plan names thresholds. What share of the cached positions a threshold keeps follows from the
model's sinks, so it is known only beside a sink profile: `KeptShares` are that answer, and
`KeptPlan` is a plan together with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hwsearch.errors import PlanError
from hwsearch.plan import CachePolicy, CacheRule, CompressionPlan, LayerPlan
from hwsearch.schema import MOST_LAYERS, Frozen

#: First positions of a sequence, scored by themselves: where autoregressive models have their sinks.
FIRST = 4

#: The rule of plans that name none.
DEFAULT_POLICY = CachePolicy()

#: Rules whose scores can be calibrated beforehand.
STATIC_RULES = (CacheRule.KEEP_STABLE, CacheRule.DROP_TRANSIENT, CacheRule.MASS)


class Signal(StrEnum):
    """What a refresh hands out for a layer that drops cached positions.

    Attributes:
        NONE: nothing: the rule looks at places alone, or at scores calibrated beforehand.
        MASS: the attention mass that each position received, summed over heads and queries.
        QUERY: each key's product with the mean query of the block's rows, mean over heads.
    """

    NONE = ""
    MASS = "mass"
    QUERY = "query"


#: Rules that look at attention mass, and so need the probabilities of a refresh in the open.
MASS_RULES: Final = (
    CacheRule.KEEP_STABLE,
    CacheRule.DROP_TRANSIENT,
    CacheRule.MASS,
    CacheRule.AR_PRESERVE,
)


def signal_of(policy: CachePolicy) -> Signal:
    """What a refresh must hand out for a policy.

    >>> signal_of(CachePolicy()), signal_of(CachePolicy(rule="mean-query"))
    (<Signal.MASS: 'mass'>, <Signal.QUERY: 'query'>)
    >>> signal_of(CachePolicy(running=False)), signal_of(CachePolicy(rule="recent"))
    (<Signal.NONE: ''>, <Signal.NONE: ''>)
    """
    if policy.rule is CacheRule.MEAN_QUERY:
        return Signal.QUERY
    return Signal.MASS if policy.running and policy.rule in MASS_RULES else Signal.NONE


#: For each layer scores of positions; those from the end are padded by the last, so there is one.
Scores = Annotated[tuple[tuple[float, ...], ...], Field(max_length=MOST_LAYERS)]
ScoresFromEnd = Annotated[
    tuple[Annotated[tuple[float, ...], Field(min_length=1)], ...], Field(max_length=MOST_LAYERS)
]


class StaticScores(Frozen):
    """Scores of positions calibrated once, layer by layer.

    Prompts differ in length and generations do not, so positions are counted from the end; but
    for the first few, counted from the start. Text behind a blank counts from the end, too: where it
    differs much in length, the scores of the blank are those of its neighbours.

    Attributes:
        first: for each layer the scores of positions 0, 1, ... from the start.
        from_end: for each layer the scores of the last position, the one before, ...
    """

    first: Scores
    from_end: ScoresFromEnd

    def of(self, layer: int, length: int) -> NDArray[np.float64]:
        """Scores ``[length]``; where a sequence is longer than any calibrated, the furthest known."""
        known = np.asarray(self.from_end[layer][:length])
        scores = np.pad(known, (0, length - len(known)), mode="edge")[::-1].copy()
        first = self.first[layer][:length]
        scores[: len(first)] = first
        return scores


@dataclass(frozen=True)
class KeptShares:
    """For each layer the share of cached positions it keeps; and by which rule, when.

    Attributes:
        shares: kept share of each layer, above 0; 1.0 keeps all, always.
        policy: the rule, and how the shares change within a generation.
        refreshes: refreshes of a whole generation, which phases are counted in.
        static: scores calibrated beforehand, for a policy that is not running.

    Raises:
        PlanError: a share is none, or the policy needs calibrated scores and there are none, or has
            none by its rule.
    """

    shares: tuple[float, ...]
    policy: CachePolicy = DEFAULT_POLICY
    refreshes: int = 1
    static: StaticScores | None = None

    def __post_init__(self) -> None:
        for layer, share in enumerate(self.shares):
            if not 0.0 < share <= 1.0:
                raise PlanError(
                    f"layer {layer}: kept share must be above 0 and at most 1, got {share}"
                )
        rule, needs = self.policy.rule, not self.policy.running and bool(self.pruned)
        if needs and rule not in STATIC_RULES:
            names = ", ".join(STATIC_RULES)
            raise PlanError(
                f"cache.running: false is for the rules {names}; got {rule.value!r}, set it to true"
            )
        if needs and self.static is None:
            raise PlanError(
                "cache.running: false needs scores calibrated beforehand; none are given"
            )

    @classmethod
    def keeping_all(cls, layers: int) -> KeptShares:
        """Those of a model that drops nothing."""
        return cls((1.0,) * layers)

    @property
    def pruned(self) -> frozenset[int]:
        """Layers that drop positions."""
        return frozenset(layer for layer, share in enumerate(self.shares) if share < 1.0)

    @property
    def signal(self) -> Signal:
        """What a refresh must hand out for the layers that drop positions."""
        return signal_of(self.policy) if self.pruned else Signal.NONE

    def layers_with(self, signal: Signal) -> frozenset[int]:
        """Layers that a refresh must hand out a signal for.

        >>> KeptShares((1.0, 0.5)).layers_with(Signal.MASS)
        frozenset({1})
        """
        return self.pruned if signal is self.signal else frozenset()

    @property
    def modes(self) -> tuple[object, ...]:
        """For each layer all that its choice of positions depends on, to be compared and hashed."""
        rule = (self.policy, self.refreshes, self.static)
        return tuple(share if share == 1.0 else (share, *rule) for share in self.shares)

    def at(self, layer: int, refresh: int) -> float:
        """Share that a layer keeps after one of the refreshes, the first being 0."""
        if self.shares[layer] == 1.0:
            return 1.0
        scale = self.policy.scale(min(refresh, self.refreshes - 1), self.refreshes)
        return min(1.0, scale * self.shares[layer])


@dataclass(frozen=True)
class KeptPlan:
    """A plan and what its thresholds keep: all that time, energy and an export depend on.

    `hwsearch.sinks.SinkProfile.keep` makes it of a plan; `drawn` of shares that came from elsewhere.

    Attributes:
        plan: the plan.
        kept: for each of its layers what is kept.

    Raises:
        PlanError: there are not as many shares as layers.

    >>> whole = KeptPlan.keeping_all(CompressionPlan.uniform(2))
    >>> whole.kept.shares
    (1.0, 1.0)
    """

    plan: CompressionPlan
    kept: KeptShares

    def __post_init__(self) -> None:
        shares, layers = len(self.kept.shares), len(self.plan.layers)
        if shares != layers:
            raise PlanError(f"kept_shares has {shares} entries but the plan {layers} layers")

    @classmethod
    def keeping_all(cls, plan: CompressionPlan) -> KeptPlan:
        """A plan under which no position is dropped, whatever its thresholds."""
        return cls(plan, KeptShares.keeping_all(len(plan.layers)))

    @classmethod
    def drawn(cls, plan: CompressionPlan, shares: Sequence[float], refreshes: int = 1) -> KeptPlan:
        """A plan with given shares, kept by its own rule; `refreshes` are a generation's."""
        return cls(plan, KeptShares(tuple(shares), plan.cache, refreshes))

    def layers(self) -> Iterator[tuple[LayerPlan, float]]:
        """Each layer and its kept share."""
        return zip(self.plan.layers, self.kept.shares, strict=True)
