"""One study's next plan: reads the trials, fits the models, ranks the candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial

from hwsearch.study.samplers.additive.acquisition import (
    Acquisition,
    CostModel,
    feasible,
    staircase_of,
)
from hwsearch.study.samplers.additive.candidates import first_unseen, ranked, unseen_any
from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows
from hwsearch.study.samplers.additive.first_plans import Design
from hwsearch.study.samplers.additive.loss_model.hyperparameters import Tuning, tune
from hwsearch.study.samplers.additive.loss_model.prior_mean import PriorLosses, PriorMean
from hwsearch.study.samplers.additive.loss_model.surrogate import (
    FIT_LIMIT,
    Surrogate,
    believe,
    fit_additive,
    fit_loss,
)
from hwsearch.study.samplers.additive.trial_arrays import Evidence, Ledger

TUNE_LIMIT = 96  # trials the likelihood is computed on
LEAST = 3  # finished trials before a model is fitted
SHORT = 8  # one-at-a-time plans that are tried without a break
NEWEST = 48  # of the trials the model is conditioned on: the newest, whatever they lost
OFTEN = 128  # trials up to which the kernel is tuned at each
FRONTIER = 32  # measured plans that breed


class Advisor:
    """Advises on one study and one space. Caches are by trial count and can be rebuilt."""

    def __init__(
        self,
        space: ChoiceSpace,
        directions: tuple[StudyDirection, ...],
        *,
        cost: AdditiveCost | None,
        budget: float | None,
        constraint_name: str | None,
        scores: int,
        prior: PriorLosses | None = None,
    ) -> None:
        self.space = space
        self._ledger = Ledger(space, directions)
        self._two = len(directions) == 2
        self._budget = budget
        self._constraint = constraint_name
        self._prior = PriorMean.of(space, prior or {})
        self._known = None if cost is None else CostModel.known(space, cost)
        self._design = self._designs(scores)
        self._tuned: tuple[int, Tuning] | None = None

    def advise(self, trials: Sequence[FrozenTrial], number: int, rng: np.random.Generator) -> Rows:
        """The plan for trial `number`, [groups]."""
        evidence = self._ledger.read(trials, number)
        plan = None
        if self._designed(len(evidence.rows)):
            plan = self._from_design(evidence)
        if plan is None and len(evidence.rows) >= LEAST:
            plan = self._from_model(evidence, rng)
        if plan is None:
            plan = unseen_any(self.space, evidence.seen, rng)
        return rng.integers(self.space.sizes) if plan is None else plan

    def _designs(self, scores: int) -> Design:
        """The first plans."""
        if self._prior is not None and self._known is not None:
            budget = None if self._two else self._budget
            return Design.expecting(self.space, self._known, budget, self._prior)
        columns = None if self._known is None else self._known.columns
        return Design.plain(self.space, columns, scores)

    def _designed(self, count: int) -> bool:
        """Whether the design proposes after `count` trials; a long one alternates with the model.

        Plans that are expected to be best are wanted however many trials there were.
        """
        design = self._design
        if design.wanted:
            return True
        if count >= 2 * len(design.plans):
            return False
        alone = len(design.plans) - design.together
        return count < design.together or alone <= SHORT or count % 2 == 1

    def _from_design(self, evidence: Evidence) -> Rows | None:
        begun = np.concatenate([evidence.rows, evidence.pending])
        fresh = [
            plan
            for place, plan in enumerate(self._design.plans)
            if tuple(int(i) for i in plan) not in evidence.seen
            and not (
                self._design.wanted <= place < self._design.together
                and self._is_covered(plan, begun)
            )
        ]
        return fresh[evidence.unknown] if evidence.unknown < len(fresh) else None

    def _is_covered(self, uniform: Rows, begun: Rows) -> bool:
        """Whether some plan begun makes all the choices by which `uniform` is not the reference."""
        changed = uniform != self.space.reference_row
        return bool(changed.any()) and bool(
            (begun[:, changed] == uniform[changed]).all(axis=1).any()
        )

    def _from_model(self, evidence: Evidence, rng: np.random.Generator) -> Rows | None:
        cost, budget = self._cost_model(evidence)
        costs = cost.of(evidence.rows)
        losses = evidence.values[:, 0]
        near = nearest(costs, losses, budget, FIT_LIMIT)
        tuning = self._tuning(evidence, near)
        chosen = with_newest(near, len(losses), NEWEST)
        loss = fit_loss(
            self.space,
            tuning,
            evidence.rows,
            losses,
            chosen=chosen,
            gram=evidence.gram,
            spread=evidence.spread,
            prior=self._prior,
        )
        loss = believe(loss, evidence.pending)
        acquisition = self._acquisition(evidence, cost, budget, loss)
        plans = ranked(self.space, loss, acquisition, evidence.rows[near[:FRONTIER]], rng)
        return first_unseen(plans, evidence.seen, evidence.unknown)

    def _tuning(self, evidence: Evidence, near: Rows) -> Tuning:
        """The kernel, tuned at each of the first trials, then whenever they have grown by an eighth."""
        count = len(evidence.rows)
        step = 1 if count < OFTEN else 1 << (count.bit_length() - 4)
        checkpoint = count // step
        if self._tuned is None or self._tuned[0] != checkpoint * step:
            chosen = near[:TUNE_LIMIT]
            rows, losses = evidence.rows[chosen], evidence.values[chosen, 0]
            tuned = tune(self.space, rows, losses, evidence.spread[chosen], self._prior)
            self._tuned = (checkpoint * step, tuned)
        return self._tuned[1]

    def _cost_model(self, evidence: Evidence) -> tuple[CostModel, float | None]:
        """The cost and the budget it is held against."""
        if self._known is not None:
            return self._known.corrected(evidence.rows, evidence.totals), self._budget
        if self._two:
            learned = fit_additive(self.space, evidence.rows, evidence.values[:, 1])
            return CostModel.of_surrogate(self.space, learned), self._budget
        column = evidence.constraints.get(self._constraint or "")
        if column is None or np.isfinite(column).sum() < LEAST:
            return CostModel(self.space, np.zeros(self.space.columns)), None
        learned = fit_additive(self.space, evidence.rows, column)
        return CostModel.of_surrogate(self.space, learned), self._budget or 0.0

    def _acquisition(
        self, evidence: Evidence, cost: CostModel, budget: float | None, loss: Surrogate
    ) -> Acquisition:
        others = {n: c for n, c in evidence.constraints.items() if n != self._constraint}
        fits = feasible(list(others.values()), len(evidence.rows)) & (evidence.spread == 0)
        losses = np.concatenate([evidence.values[fits, 0], loss.mean(evidence.pending)])
        limits = tuple(
            fit_additive(self.space, evidence.rows, column)
            for column in others.values()
            if np.isfinite(column).sum() >= LEAST
        )
        costs = cost.of(np.concatenate([evidence.rows[fits], evidence.pending]))
        if self._two:
            floor = self._floor(evidence)
            return Acquisition(
                cost, budget, staircase_of(cost, costs, losses, budget), 0.0, limits, floor
            )
        within = losses if budget is None else losses[costs <= budget]
        best = float(within.min()) if len(within) else float(evidence.values[:, 0].max())
        return Acquisition(cost, budget, None, best, limits, self._floor(evidence))

    def _floor(self, evidence: Evidence) -> float:
        """The least loss to expect: the reference plan's, while no plan has beaten it."""
        at = (evidence.rows == self.space.reference_row).all(axis=1)
        losses = evidence.values[:, 0]
        beaten = not at.any() or losses.min() < losses[at].min()
        return -np.inf if beaten else float(losses[at].min())


def with_newest(near: Rows, count: int, newest: int) -> Rows:
    """The trials `near` the front and the newest of `count`: what was just proposed and failed.

    Without these the model forgets its failures, and proposes their like again.
    """
    kept = near if count <= len(near) else near[: len(near) - newest]
    return np.union1d(kept, np.arange(max(0, count - newest), count))


def nearest(costs: Floats, losses: Floats, budget: float | None, limit: int) -> Rows:
    """Trials by how little they miss the measured front (ties: newest last), at most `limit`."""
    order = np.lexsort((losses, costs))
    best = np.empty(len(losses))
    best[order] = np.minimum.accumulate(losses[order])
    miss = (losses - best) / max(float(np.ptp(losses)), 1e-300)
    if budget is not None:
        miss = miss + np.maximum(costs - budget, 0.0) / max(float(np.ptp(costs)), 1e-300)
    return np.argsort(miss, kind="stable")[:limit]
