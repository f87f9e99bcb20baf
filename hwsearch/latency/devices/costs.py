"""What a predictor needs of a device: the cost of an operator, and the formats it can run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Protocol

from hwsearch.latency.operators import OpKey
from hwsearch.plan import WeightFormat

#: What whole-model runs weigh apart: the products of a format, attention in layers that choose positions
#: by what a refresh says (which the host does between two passes, and no operator is), and the rest.
Group = WeightFormat | Literal["choosing"] | None

#: Milliseconds of a pass's operators by group.
Sums = Mapping[Group, float]


class Costs(Protocol):
    """Prices operators. A measured table does, and so does a fitted roofline."""

    def cost_us(self, key: OpKey) -> float:
        """Microseconds of one operator. Raises `MissingShapeError` where it has no answer."""
        ...

    def spread(self, key: OpKey) -> float:
        """Standard error of `cost_us` as a share of it; 0 where it is counted elsewhere."""
        ...

    def formats(self) -> list[WeightFormat]:
        """Weight formats that the device's runtime can load, least compressed first."""
        ...
