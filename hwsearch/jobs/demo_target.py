"""A target that this machine can reach, chosen before the search begins.

How much faster weight formats make a model differs by processor: products of int8 take .3 of the
float32 time where there are VNNI instructions, and .6 of it with AVX2 alone. A fixed target would be
too easy on one machine and out of reach on the next. The uncompressed plan and every uniform plan are
predicted before the first trial, so the demo looks at them and sets its target in between.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hwsearch.errors import InputError
from hwsearch.study import Objective

#: The target where the machine reaches it: half the uncompressed model's time.
HALF = 0.5

#: Room between the fastest uniform plan and the target, for what a prediction is off by.
ROOM = 0.1


@dataclass(frozen=True)
class Reach:
    """What plans take on a machine, as predicted before the search.

    Attributes:
        uncompressed_ms: a generation of the uncompressed model.
        fastest_uniform_ms: a generation of the fastest uniform plan, which the demo shows beside
            the winner.
    """

    uncompressed_ms: float
    fastest_uniform_ms: float

    @classmethod
    def of(cls, objective: Objective) -> Reach:
        """Of all uniform plans of an objective's space."""
        space = objective.space
        uncompressed = objective.predictor.device.uncompressed(space.num_layers)
        uniform = [uncompressed, *space.uniform_plans()]
        offered = [plan for plan in uniform if space.offers(plan)]
        times = [objective.latency(plan).generation_ms for plan in offered]
        return cls(objective.latency(uncompressed).generation_ms, min(times))

    @property
    def fastest_ratio(self) -> float:
        """The fastest uniform plan's time as a share of the uncompressed model's."""
        return self.fastest_uniform_ms / self.uncompressed_ms


@dataclass(frozen=True)
class DemoTarget:
    """A share of the uncompressed model's time, and why it is that.

    Attributes:
        ratio: the share.
        reason: one sentence for whoever watches.
    """

    ratio: float
    reason: str


def choose_target(reach: Reach, asked: float | None = None) -> DemoTarget:
    """The target of the demo.

    Half the uncompressed time where the fastest uniform plan stays below it with `ROOM` to spare,
    else the middle between that plan and the uncompressed one.

    Args:
        reach: what this machine can do.
        asked: a share that the user asked for; it is taken as it is.

    Raises:
        InputError: `asked` is not above 0.

    >>> choose_target(Reach(100.0, 30.0)).ratio, choose_target(Reach(100.0, 60.0)).ratio
    (0.5, 0.8)
    """
    fastest = f"the fastest uniform plan is predicted to take {reach.fastest_ratio:.2f} of it"
    if asked is not None:
        if not (asked > 0 and math.isfinite(asked)):
            raise InputError(f"--target-ratio must be above 0; got {asked:g}")
        return DemoTarget(asked, f"{asked:g} of the uncompressed time, as asked; {fastest}")
    if reach.fastest_ratio <= HALF * (1.0 - ROOM):
        return DemoTarget(HALF, f"half of the uncompressed time; {fastest}")
    if reach.fastest_ratio >= 1.0:
        return DemoTarget(1.0, "the uncompressed time itself: no uniform plan is faster here")
    # rounded up, so that what is printed is what is meant and is no harder
    ratio = math.ceil(round(50.0 * (1.0 + reach.fastest_ratio), 6)) / 100.0
    return DemoTarget(
        ratio,
        f"{ratio:.2f} of the uncompressed time; {fastest}, too close to half, "
        "so the target is the middle between the two",
    )
