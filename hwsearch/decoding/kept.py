"""How much of the cache each layer keeps, and by which rule: what a backend is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from hwsearch.errors import PlanError
from hwsearch.plan import CachePolicy, CacheRule, Frozen

#: First positions of a sequence, scored by themselves: where autoregressive models have their sinks.
FIRST = 4

#: The rule of plans that name none.
DEFAULT_POLICY = CachePolicy()

#: Rules that look at attention mass, and so need the probabilities of a refresh in the open.
MASS_RULES = (
    CacheRule.KEEP_STABLE,
    CacheRule.DROP_TRANSIENT,
    CacheRule.MASS,
    CacheRule.AR_PRESERVE,
)

#: Rules whose scores can be calibrated beforehand.
STATIC_RULES = (CacheRule.KEEP_STABLE, CacheRule.DROP_TRANSIENT, CacheRule.MASS)


class StaticScores(Frozen):
    """Scores of positions calibrated once, layer by layer.

    Prompts differ in length and generations do not, so positions are counted from the end; but
    for the first few, counted from the start.

    Attributes:
        first: for each layer the scores of positions 0, 1, ... from the start.
        from_end: for each layer the scores of the last position, the one before, ...
    """

    first: tuple[tuple[float, ...], ...]
    from_end: tuple[tuple[float, ...], ...]

    def of(self, layer: int, length: int) -> NDArray[np.float64]:
        """Scores ``[length]``; where a sequence is longer than any calibrated, the furthest known."""
        known = np.asarray(self.from_end[layer][:length])
        scores = np.pad(known, (0, length - len(known)), mode="edge")[::-1].copy()
        first = self.first[layer][:length]
        scores[: len(first)] = first
        return scores


@dataclass(frozen=True)
class KeptShares(Sequence[float]):
    """For each layer the share of cached positions it keeps; and by which rule, when.

    A sequence of the shares, so whoever asks only how much is kept reads them as they are.

    Attributes:
        shares: kept share of each layer; 1.0 keeps all, always.
        policy: the rule, and how the shares change within a generation.
        refreshes: refreshes of a whole generation, which phases are counted in.
        static: scores calibrated beforehand, for a policy that is not running.

    Raises:
        PlanError: the policy needs calibrated scores and there are none, or has none by its rule.
    """

    shares: tuple[float, ...]
    policy: CachePolicy = DEFAULT_POLICY
    refreshes: int = 1
    static: StaticScores | None = None

    def __post_init__(self) -> None:
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
    def of(cls, shares: Sequence[float]) -> KeptShares:
        """Shares as they are, or plain numbers under the default policy."""
        return shares if isinstance(shares, cls) else cls(tuple(shares))

    @property
    def pruned(self) -> frozenset[int]:
        """Layers that drop positions."""
        return frozenset(layer for layer, share in enumerate(self.shares) if share < 1.0)

    @property
    def wants_mass(self) -> frozenset[int]:
        """Layers whose attention mass a refresh must hand out."""
        running = self.policy.running and self.policy.rule in MASS_RULES
        return self.pruned if running else frozenset()

    @property
    def wants_query(self) -> frozenset[int]:
        """Layers whose keys a refresh must compare with the block's mean query."""
        return self.pruned if self.policy.rule is CacheRule.MEAN_QUERY else frozenset()

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

    def __len__(self) -> int:
        return len(self.shares)

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[float, ...]: ...
    def __getitem__(self, index: Any) -> Any:
        """The share of a layer."""
        return self.shares[index]
