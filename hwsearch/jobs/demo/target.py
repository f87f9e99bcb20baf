"""A target that this machine can reach, chosen before the search begins.

How much faster weight formats make a model differs by processor: products of int8 take .3 of the
float32 time where there are VNNI instructions, and .6 of it with AVX2 alone. A fixed target would be
too easy on one machine and out of reach on the next. What the fastest plan of the space takes is known
before the first trial, so the demo sets its target a little above it. Plans whose decoding alone makes the
uncompressed model's answers wrong do not count: they are fast, and nobody wants them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan
from hwsearch.study import Objective
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.preparation.feasibility import fastest_plan

#: Room between the fastest plan there is and the target, a share of the former: plans to choose among, and
#: what a prediction is off by.
ROOM = 0.08

#: Price of a decoding, in nats, above which answers visibly suffer.
CARELESS = 0.05


@dataclass(frozen=True)
class Reach:
    """What plans take on a machine, as predicted before the search.

    Attributes:
        uncompressed_ms: a generation of the uncompressed model.
        fastest_uniform_ms: a generation of the fastest uniform plan, whatever its decoding, if it is careful.
        fastest_ms: a generation of the fastest plan of the space that decodes carefully.
    """

    uncompressed_ms: float
    fastest_uniform_ms: float
    fastest_ms: float

    @classmethod
    def of(cls, objective: Objective) -> Reach:
        """Of all uniform plans of an objective's space, and of the fastest of all, that decode carefully."""

        def ms(plan: CompressionPlan) -> float:
            return objective.expected_latency(plan).generation_ms

        space = careful_space(objective)
        uncompressed = objective.predictor.device.uncompressed(space.num_layers)
        uniform = [uncompressed, *space.uniform_plans()]
        offered = [plan for plan in uniform if space.offers(plan)]
        fastest = fastest_plan(replace(objective, space=space))
        return cls(ms(uncompressed), min(map(ms, offered)), ms(fastest))

    @property
    def fastest_ratio(self) -> float:
        """The fastest uniform plan's time as a share of the uncompressed model's."""
        return self.fastest_uniform_ms / self.uncompressed_ms


def careful_space(objective: Objective) -> SearchSpace:
    """An objective's space without the decodings that cost the uncompressed model more than `CARELESS`."""
    space, answering = objective.space, objective.answering
    if answering is None:
        return space
    kept = [
        decoding
        for decoding in space.decodings
        if decoding is None or answering.uncompressed_price(decoding) <= CARELESS
    ]
    return space.model_copy(update={"decodings": tuple(kept)}) if kept else space


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
    """The target of the demo: `ROOM` above the fastest plan, so that there is something to choose.

    Args:
        reach: what this machine can do.
        asked: a share that the user asked for; it is taken as it is.

    Raises:
        InputError: `asked` is not above 0.

    >>> choose_target(Reach(100.0, 8.0, 7.0)).ratio, choose_target(Reach(100.0, 120.0, 110.0)).ratio
    (0.076, 1.0)
    """
    fastest = f"the fastest uniform plan is predicted to take {reach.fastest_ratio:.3f} of it"
    if asked is not None:
        if not (asked > 0 and math.isfinite(asked)):
            raise InputError(f"--target-ratio must be above 0; got {asked:g}")
        return DemoTarget(asked, f"{asked:g} of the uncompressed time, as asked; {fastest}")
    least = reach.fastest_ms / reach.uncompressed_ms
    if least * (1.0 + ROOM) >= 1.0:
        return DemoTarget(1.0, "the uncompressed time itself: hardly any plan is faster here")
    # rounded up, so that what is printed is what is meant and is no harder
    ratio = math.ceil(round(1000.0 * (1.0 + ROOM) * least, 6)) / 1000.0
    return DemoTarget(
        ratio,
        f"{ratio:.3f} of the uncompressed time, {ROOM:.0%} above the fastest careful plan; {fastest}",
    )
