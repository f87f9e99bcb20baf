"""Sums of operators with their standard error."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from hwsearch.latency.devices.costs import Costs, Group
from hwsearch.latency.operators import OpKey
from hwsearch.latency.phases import PLAIN, Caching
from hwsearch.plan import WeightFormat


class OperatorChoice(NamedTuple):
    """One thing that a plan chooses, as far as it takes time.

    Attributes:
        part: what is chosen: one of a layer's `hwsearch.plan.LINEAR_GROUPS` or a short form of two, how
            many positions it has ``kept``, or the ``ends`` of a pass.
        value: a format; the kept share of ``kept``.
        size: key / value heads, or channels of the mlp, that stay; None for all.
        caching: how ``kept`` positions are chosen.
    """

    part: str
    value: WeightFormat | float
    size: int | None = None
    caching: Caching = PLAIN

    @property
    def format(self) -> WeightFormat | None:
        """The format of its products; None where it has none."""
        return self.value if isinstance(self.value, WeightFormat) else None

    @property
    def group(self) -> Group:
        """What its time is weighed with by a calibration."""
        chooses = self.part == "kept" and self.value != 1.0 and self.caching.signal
        return "choosing" if chooses else self.format


@dataclass(frozen=True)
class Part:
    """Some of a pass, or all of it.

    Attributes:
        ms: milliseconds.
        error_ms: standard error of that, from the scatter of the operators' timings.
    """

    ms: float
    error_ms: float = 0.0

    @classmethod
    def of(cls, operators: Mapping[OpKey, int], costs: Costs) -> Part:
        """Operators as often as they run; errors of different operators are independent."""
        ms, square = 0.0, 0.0
        for key, count in operators.items():
            cost = count * costs.cost_us(key) / 1e3
            ms += cost
            square += (cost * costs.spread(key)) ** 2
        return cls(ms, math.sqrt(square))

    def times(self, count: float) -> Part:
        """The same part `count` times: the error is the same each time, so it grows alike."""
        return Part(count * self.ms, count * self.error_ms)


def total(parts: Iterable[Part]) -> Part:
    """Several parts together, their errors independent."""
    parts = list(parts)
    square = sum(part.error_ms**2 for part in parts)
    return Part(sum(part.ms for part in parts), math.sqrt(square))
