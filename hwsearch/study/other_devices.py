"""The best plan that a finished study knows for another device than its own.

The idea: a plan loses the same wherever it runs. So the model of the loss that is fitted to a study's
trials serves every device, and only what choices cost is asked anew, of the other device. Choices that
it cannot run (formats that it lacks, sizes that were not timed) are priced so high that no plan within
the target takes one.

Limits: choices are those of the study. A format that it did not offer has no loss here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from hwsearch.errors import HwsearchError
from hwsearch.plan import CompressionPlan
from hwsearch.study.choices.cost_tables import CostTables
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.records.study import Study
from hwsearch.study.retargeting import Totals, predicted_best

#: What a plan costs on a device, in milliseconds or joules; raises `HwsearchError` where it cannot run there.
Price = Callable[[CompressionPlan], float]

#: A choice that cannot run adds so many times what a plan costs that runs.
FORBIDDEN = 100.0


@dataclass(frozen=True)
class PredictedPlan:
    """A plan that no trial has tried.

    Attributes:
        plan: the plan.
        loss: its predicted loss.
        spread: standard deviation of that.
    """

    plan: CompressionPlan
    loss: float
    spread: float


def best_elsewhere(study: Study, price: Price, most: float) -> PredictedPlan | None:
    """The untried plan of least predicted loss that another device can run within a target.

    Args:
        study: a study with finished trials and kept costs.
        price: what plans cost there.
        most: the most that a plan may cost, in the unit of `price`.

    Returns:
        The plan; None where there is no untried one, or too few trials to predict by.

    Raises:
        HwsearchError: the device can run no plan of the study's space.
        StudyError: the study keeps no costs.
    """
    runnable = Runnable.on(study.space, price)
    times = CostTables.measure(study.space, runnable.price)
    found = predicted_best(study, Totals(times, Totals.of(study).sizes), most)
    if found is None:
        return None
    params, loss, spread = found
    return PredictedPlan(study.space.plan(params), loss, spread)


@dataclass(frozen=True)
class Runnable:
    """Which choices of a space a device can run.

    Attributes:
        space: the space.
        of_device: what plans of these choices cost.
        choices: those choices by what a parameter sets, in the space's order; never empty.
        penalty: what any other choice adds.
    """

    space: SearchSpace
    of_device: Price
    choices: Mapping[str, tuple[int, ...]]
    penalty: float

    @classmethod
    def on(cls, space: SearchSpace, price: Price) -> Runnable:
        """Found by pricing plans that differ from a runnable one in one kind of choice.

        Raises:
            HwsearchError: no uniform plan of the space can run.
        """
        base, cost = _first_runnable(space, price)
        kinds, sizes = space.kinds(), {n: len(c) for n, c in space.parameters().items()}
        choices: dict[str, tuple[int, ...]] = {}
        for kind in dict.fromkeys(kinds.values()):
            alike = [name for name in kinds if kinds[name] == kind]
            choices[kind] = tuple(
                choice
                for choice in range(sizes[alike[0]])
                if _runs(price, space.plan({**base, **dict.fromkeys(alike, choice)}))
            )
        return cls(space, price, choices, FORBIDDEN * cost)

    def price(self, plan: CompressionPlan) -> float:
        """What a plan costs, those of its choices that cannot run counted by `penalty`."""
        params, kinds = self.space.params(plan), self.space.kinds()
        allowed = {name: self.choices[kinds[name]] for name in params}
        wrong = [name for name, choice in params.items() if choice not in allowed[name]]
        instead = {name: allowed[name][0] for name in wrong}
        cost = self.of_device(self.space.plan({**params, **instead}))
        return cost + len(wrong) * self.penalty


def _first_runnable(space: SearchSpace, price: Price) -> tuple[dict[str, int], float]:
    """The first choices of everything but formats, of which the first that can run; and what that costs."""
    last: HwsearchError | None = None
    kinds = space.kinds()
    formats = [name for name in kinds if kinds[name] in (*space.linear_groups, "head")]
    for choice in range(len(space.formats)):
        params = {**dict.fromkeys(kinds, 0), **dict.fromkeys(formats, choice)}
        try:
            return params, price(space.plan(params))
        except HwsearchError as error:
            last = error
    assert last is not None, "a space offers at least one format"
    raise last


def _runs(price: Price, plan: CompressionPlan) -> bool:
    try:
        price(plan)
    except HwsearchError:
        return False
    return True
