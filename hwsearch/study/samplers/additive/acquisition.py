"""What counts as better: the study's objectives, its budget and its further constraints."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows
from hwsearch.study.samplers.additive.hypervolume import Staircase, expectation, gaussian_nodes
from hwsearch.study.samplers.additive.loss_model.gaussian_process import swap_rows
from hwsearch.study.samplers.additive.loss_model.surrogate import Surrogate

MARGIN = 0.02  # how far beyond the ends of the front the reference point lies


@dataclass(frozen=True)
class CostModel:
    """Cost of a plan: known column by column, known of whole plans, or learned from trials.

    Attributes:
        space: the plans.
        columns: cost of each column, [columns].
        constant: cost that every plan pays.
        learned: the model behind `columns` if they were learned.
        whole: cost of plans [n, groups] where `columns` only come near it, [n].
        expected: place of the parameter whose costs are expected only; None where all are exact.
        first: total cost of the plan of first choices.
    """

    space: ChoiceSpace
    columns: Floats
    constant: float = 0.0
    learned: Surrogate | None = None
    whole: Callable[[Rows], Floats] | None = None
    expected: int | None = None
    first: float = 0.0

    @classmethod
    def known(cls, space: ChoiceSpace, cost: AdditiveCost) -> CostModel:
        """The cost model of a known cost."""
        whole = None if cost.whole is None else partial(cost.whole, space.names)
        place = space.names.index(cost.expected) if cost.expected in space.names else None
        return cls(
            space,
            cost.columns(space),
            cost.constant,
            whole=whole,
            expected=place,
            first=cost.first,
        )

    def corrected(self, rows: Rows, totals: Floats) -> CostModel:
        """The same with the expected costs moved to what trials were seen to cost.

        Each choice of the expected parameter is moved by the mean of what its trials cost beyond the
        model, drawn towards 0 as if one more trial had agreed with it.

        Args:
            rows: plans of trials, [n, groups].
            totals: what they cost, [n]; NaN where nobody saw.
        """
        if self.expected is None:
            return self
        beyond = totals - (self.first + self.of(rows)) if len(rows) else totals
        seen = np.isfinite(beyond)
        size, choice = self.space.sizes[self.expected], rows[seen, self.expected]
        sums = np.bincount(choice, weights=beyond[seen], minlength=size)
        shift = sums / (np.bincount(choice, minlength=size) + 1.0)
        columns = self.columns.copy()
        start = self.space.offsets[self.expected]
        columns[start : start + size] += shift
        whole, place = self.whole, self.expected
        if whole is None:
            return replace(self, columns=columns)
        return replace(self, columns=columns, whole=lambda r: whole(r) + shift[r[:, place]])

    def at(self, plan: Rows) -> CostModel:
        """The same as a sum over columns: exact for `plan` and its single swaps, near it elsewhere."""
        if self.whole is None:
            return self
        here = float(self.whole(plan[None])[0])
        return CostModel(self.space, self.whole(swap_rows(self.space, plan)) - here, here)

    @classmethod
    def of_surrogate(cls, space: ChoiceSpace, learned: Surrogate) -> CostModel:
        """The cost model that a learned additive predictor implies."""
        reference = space.reference_row
        effects, _ = learned.posterior.swaps_at(reference)
        columns = effects * learned.warp.span
        base = float(learned.mean(reference[None])[0])
        return cls(space, columns, base - float(space.total(reference[None], columns)[0]), learned)

    def of(self, rows: Rows) -> Floats:
        """Cost of each plan, [n]."""
        if self.whole is not None:
            return self.whole(rows)
        return self.constant + self.space.total(rows, self.columns)

    def within(self, rows: Rows, budget: float) -> Floats:
        """Probability that each plan costs at most `budget`, [n]; 0 or 1 for a known cost."""
        if self.learned is None:
            return (self.of(rows) <= budget + 1e-9 * abs(budget)).astype(float)
        return _below(self.learned, rows, budget)


@dataclass(frozen=True)
class Acquisition:
    """What a new plan is worth.

    Attributes:
        cost: cost model.
        budget: largest admissible cost, or None.
        staircase: measured front (two objectives), or None.
        best: least feasible loss measured (one objective).
        limits: models of further constraints, feasible at 0 or below.
        floor: least loss to expect of any plan.
    """

    cost: CostModel
    budget: float | None
    staircase: Staircase | None
    best: float
    limits: tuple[Surrogate, ...] = ()
    floor: float = -np.inf

    def value(self, loss: Surrogate, rows: Rows) -> Floats:
        """Expected improvement of each plan times its probability of being feasible, [n]."""
        return self._value(loss, rows, *loss.predict(rows))

    def value_of_swaps(self, loss: Surrogate, plan: Rows) -> tuple[Rows, Floats]:
        """Every single swap of `plan` and its value, [columns, groups] and [columns]."""
        rows = swap_rows(self.cost.space, plan)
        return rows, self._value(loss, rows, *loss.posterior.predict_swaps(plan))

    def _value(self, loss: Surrogate, rows: Rows, mean: Floats, spread: Floats) -> Floats:
        losses = np.maximum(loss.warp.inverse(gaussian_nodes(mean, spread)), self.floor)
        if self.staircase is not None:
            gain = self.staircase.gain(self.cost.of(rows)[:, None], losses)
        else:
            gain = np.maximum(self.best - losses, 0.0)
        return expectation(gain) * self._admissible(rows)

    def doubt(self, loss: Surrogate, rows: Rows) -> Floats:
        """How unsure the model is of each plan, times its probability of being feasible, [n]."""
        return loss.predict(rows)[1] * self._admissible(rows)

    def _admissible(self, rows: Rows) -> Floats:
        """Probability that each plan meets all limits, [n]."""
        chance = np.ones(len(rows))
        for limit in self.limits:
            chance *= _below(limit, rows, 0.0)
        return chance if self.budget is None else chance * self.cost.within(rows, self.budget)


def feasible(constraints: list[Floats], count: int) -> NDArray[np.bool_]:
    """Whether each of `count` trials meets all the constraints it has set, [count]."""
    ok = np.ones(count, dtype=bool)
    for column in constraints:
        ok &= ~(column > 0)
    return ok


def staircase_of(cost: CostModel, costs: Floats, losses: Floats, budget: float | None) -> Staircase:
    """The measured front of trials, with a reference point just beyond both its ends."""
    space = cost.space
    low = cost.constant + float(np.minimum.reduceat(cost.columns, space.offsets).sum())
    low = min(low, float(costs.min(initial=low)))
    order = np.lexsort((losses, costs))
    front = losses[order] <= np.minimum.accumulate(losses[order])
    high = float(cost.of(space.reference_row[None])[0])
    high = max(high, float(costs[order][front].max(initial=high)))
    end = budget if budget is not None else high + MARGIN * (high - low)
    ends = losses[order][front]
    worst = float(ends.max()) if len(ends) else 1.0
    worst += MARGIN * float(np.ptp(losses)) if len(losses) else 0.0
    return Staircase.of(costs, losses, low, end, worst)


def _below(predictor: Surrogate, rows: Rows, bound: float) -> Floats:
    from scipy.special import ndtr  # a third of a second, which no finished study needs

    mean, spread = predictor.predict(rows)
    limit = float(predictor.warp.forward(np.array([bound]))[0])
    return np.asarray(ndtr((limit - mean) / spread))
