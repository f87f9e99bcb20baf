"""The loss model of a finished study, asked for the best plan within a budget."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from optuna.distributions import BaseDistribution
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hwsearch.study.samplers.additive.acquisition import CostModel
from hwsearch.study.samplers.additive.blas_threads import one_blas_thread
from hwsearch.study.samplers.additive.candidates import ENUMERATE
from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows
from hwsearch.study.samplers.additive.knapsack import solve_front
from hwsearch.study.samplers.additive.loss_model.gaussian_process import swap_rows
from hwsearch.study.samplers.additive.loss_model.hyperparameters import tune
from hwsearch.study.samplers.additive.loss_model.prior_mean import PriorLosses, PriorMean
from hwsearch.study.samplers.additive.loss_model.surrogate import FIT_LIMIT, Surrogate, fit_loss
from hwsearch.study.samplers.additive.proposer import (
    FRONTIER,
    NEWEST,
    TUNE_LIMIT,
    nearest,
    with_newest,
)
from hwsearch.study.samplers.additive.trial_arrays import Ledger

Bounds = list[tuple[CostModel, float]]
#: Predicted losses that differ by less than this share of their range are alike: processors add in
#: other orders.
ALIKE = 1e-6
#: Losses that lie below 0 by no more, measured or predicted, are 0 but for rounding.
ROUNDING = 1e-6
PRICES = (0.1, 0.3, 1.0, 3.0, 10.0)  # of the further limit, against the loss
ROUNDS = 20  # of single swaps


class LossModel:
    """The additive model with pairs, fitted to all finished trials of a study at once.

    Args:
        search_space: distributions by name.
        cost: cost of plans.
        kinds: what each parameter sets.
        trials: finished trials, at least `hwsearch.study.samplers.additive.proposer.LEAST`, and stopped ones.
        directions: of the study.
        prior: losses that single choices were expected to cost before.
    """

    def __init__(
        self,
        search_space: Mapping[str, BaseDistribution],
        cost: AdditiveCost,
        *,
        kinds: Mapping[str, str],
        trials: Sequence[FrozenTrial],
        directions: Sequence[StudyDirection],
        prior: PriorLosses | None = None,
    ) -> None:
        self.space = ChoiceSpace.of(search_space, {}, sys.maxsize, kinds)
        self._prior = PriorMean.of(self.space, prior or {})
        self._cost = CostModel.known(self.space, cost)
        self._evidence = Ledger(self.space, directions).read(trials, -1)
        measured = self._evidence.rows[self._evidence.spread == 0]
        self._tried = set(map(tuple, measured.tolist()))

    def best(
        self, budget: float, limit: tuple[AdditiveCost, float] | None = None
    ) -> tuple[dict[str, int], float, float] | None:
        """The untried plan of least predicted loss whose total cost is at most `budget`.

        Args:
            budget: largest total cost.
            limit: a further quantity of plans, and the most that a plan may have of it.

        Returns:
            Parameters, predicted loss and its standard deviation; None if no untried plan is within
            both.
        """
        bounds = [(self._cost, budget)]
        if limit is not None:
            bounds.append((CostModel.known(self.space, limit[0]), limit[1]))
        with one_blas_thread():
            return self._best(budget, bounds)

    def _best(self, budget: float, bounds: Bounds) -> tuple[dict[str, int], float, float] | None:
        losses = self._evidence.values[:, 0]
        costs = self._cost.of(self._evidence.rows)
        near = nearest(costs, losses, budget, FIT_LIMIT)
        model = self._fit(near)
        if self.space.plans <= ENUMERATE:
            rows = self.space.enumerate()
        else:
            rows = np.concatenate(list(self._starts(model, near, bounds)))
        rows = rows[self._within(rows, bounds)]
        if not len(rows):
            return None
        plan = self._climb(model, least(rows, model.mean(rows)), bounds)
        rows = np.concatenate([rows, swap_rows(self.space, plan)])
        fresh = [tuple(row) not in self._tried for row in rows.tolist()]
        rows = rows[self._within(rows, bounds) & np.array(fresh)]
        if not len(rows):
            return None
        plan = least(rows, model.mean(rows))
        mean, spread = model.predict(plan[None])
        high, low = model.warp.inverse(mean + spread), model.warp.inverse(mean - spread)
        loss = self._possible(float(model.mean(plan[None])[0]))
        return self.space.decode(plan), loss, float((high - low)[0] / 2)

    def _possible(self, loss: float) -> float:
        """A predicted loss, or 0 where it lies below and no measured one does.

        Divergences, negative log-likelihoods and shares of answers cannot; a sum of effects does not know.
        """
        losses = self._evidence.values[:, 0]
        return 0.0 if loss < -ROUNDING <= losses.min() else loss

    def _fit(self, near: Rows) -> Surrogate:
        evidence, chosen = self._evidence, near[:TUNE_LIMIT]
        losses = evidence.values[:, 0]
        spread = evidence.spread
        tuning = tune(
            self.space, evidence.rows[chosen], losses[chosen], spread[chosen], self._prior
        )
        return fit_loss(
            self.space,
            tuning,
            evidence.rows,
            losses,
            chosen=with_newest(near, len(losses), NEWEST),
            gram=evidence.gram,
            spread=spread,
            prior=self._prior,
        )

    def _within(self, rows: Rows, bounds: Bounds) -> NDArray[np.bool_]:
        """Which plans keep all bounds, [n]."""
        kept = np.ones(len(rows), dtype=bool)
        for cost, most in bounds:
            kept &= cost.of(rows) <= most + 1e-9 * abs(most)
        return kept

    def _starts(self, model: Surrogate, near: Rows, bounds: Bounds) -> Iterator[Rows]:
        """Exact answers of the model made additive at two plans, and the best plans measured."""
        rows = self._evidence.rows[near[:FRONTIER]]
        for plan in (self.space.reference_row, rows[0]):
            effects = evened(model.posterior.swaps_at(plan)[0])
            cost = self._cost.at(plan)
            budget, last = bounds[0][1] - cost.constant, 8 if cost is self._cost else FRONTIER
            yield solve_front(self.space, effects, cost.columns, budget)[-last:]
            for toll in (limit.at(plan).columns for limit, _ in bounds[1:]):
                per_toll = np.ptp(effects) / max(float(np.ptp(toll)), 1e-12)
                for price in PRICES:
                    paid = effects + price * per_toll * toll
                    yield solve_front(self.space, paid, cost.columns, budget)[-last:]
        yield rows

    def _climb(self, model: Surrogate, plan: Rows, bounds: Bounds) -> Rows:
        """Swap one choice after another while the predicted loss falls."""
        value = float(model.mean(plan[None])[0])
        for _ in range(ROUNDS):
            swaps = swap_rows(self.space, plan)
            swaps = swaps[self._within(swaps, bounds)]
            means = model.mean(swaps)
            if means.min() >= value:
                break
            plan, value = swaps[means.argmin()], float(means.min())
        return plan


def least(rows: Rows, losses: Floats) -> Rows:
    """The plan of least loss; of those alike, the last in order, on whatever processor they were computed.

    >>> least(np.array([[0, 1], [1, 0], [2, 0]]), np.array([0.1, 0.1 + 1e-12, 0.3])).tolist()
    [1, 0]
    """
    near = rows[losses <= losses.min() + ALIKE * np.ptp(losses)]
    return np.asarray(near[np.lexsort(near.T[::-1])[-1]])


def evened(effects: Floats) -> Floats:
    """Effects of choices as whole numbers of a small unit: sums are exact, so ties are ties everywhere."""
    unit = ALIKE * np.ptp(effects)
    return np.rint(effects / unit) if unit > 0 else effects
