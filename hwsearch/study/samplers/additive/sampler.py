"""`AdditiveSampler`: the optuna face of the search."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.search_space import IntersectionSearchSpace
from optuna.storages import BaseStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from hwsearch.study.samplers.additive.blas_threads import one_blas_thread
from hwsearch.study.samplers.additive.cost import AdditiveCost
from hwsearch.study.samplers.additive.encoding import ChoiceSpace, choices_of
from hwsearch.study.samplers.additive.loss_model.prior_mean import PriorLosses, PriorMean
from hwsearch.study.samplers.additive.proposer import Advisor


@dataclass
class _Cache:
    """What can be rebuilt from the trials of one study."""

    storage: BaseStorage | None = None
    study_id: int | None = None
    advisor: Advisor | None = None
    intersection: IntersectionSearchSpace = field(default_factory=IntersectionSearchSpace)


class AdditiveSampler(BaseSampler):
    """Proposes plans whose loss is nearly additive and whose cost is exactly additive.

    Works on parameters with few choices: categoricals, integers and stepped floats. Everything
    else, and parameters that only some trials have, goes to `independent_sampler`.

    With one objective it minimises the loss under ``cost <= budget``; with two, (loss, cost), it
    grows the hypervolume of the front. Every further constraint that trials set with
    ``trial.set_constraint`` is learned and respected.

    The idea: what a choice does to one layer hardly depends on the other layers. The loss of a plan
    is then nearly a sum of one number a choice, a few dozen trials show those numbers, and the best
    plan within a budget follows from them by dynamic programming instead of by chance.

    The steps of a proposal:

    1. First plans: the reference, the cheapest, the uniform ones by kind (as far as no trial has
       shown that already), and the reference with one choice changed at a time. With a `prior`, the
       plans that are best by it come first instead, by the dynamic programming of step 3.
    2. A Gaussian process of the warped loss, additive with pair corrections (Duvenaud, Nickisch and
       Rasmussen, "Additive Gaussian Processes", 2011), conditioned on the finished trials near the
       front and the newest ones. Plans now running count as if they came out as predicted. A `prior`
       is its mean, by a factor that the likelihood chooses.
    3. Candidates: the exact front of the model's additive part by dynamic programming (a
       multiple-choice knapsack), mutations of it, and of the best plans measured.
    4. The candidate of largest expected improvement (of the loss, or of the hypervolume), times its
       probability of meeting the constraints.

    Limits: it gains where losses are nearly additive; where three or more choices matter only
    together, it is no better than a random search of the candidates. Choices are unordered, so a
    parameter of many of them needs as many trials. A proposal takes tens of milliseconds, which
    pays where a trial takes a second or more.

    All state is derived from the study's trials, so workers may share a storage. A plan that was
    tried is not proposed again while others remain.

    Args:
        cost: cost of each choice: an `AdditiveCost`, ``{parameter: {choice: cost}}``, or a
            function ``(parameter, choice) -> cost``. None learns it from the second objective,
            or from the constraint `constraint_name`.
        budget: largest admissible total cost, in the unit of `cost`; with a learned cost, in the
            unit of what it is learned from (for a constraint: 0).
        constraint_name: the constraint that stands for the cost.
        seed: seed of every random choice; with one worker, equal seeds give equal proposals.
        search_space: distributions by name. Without it the first trial shows them.
        reference: the uncompressed choice by parameter name; default, the first of each.
        scores: one-at-a-time plans a parameter before the model leads.
        kinds: what each parameter sets, by name; parameters of one kind are expected to have
            like effects. Without it, those with the same choices are one kind.
        max_choices: parameters with more choices go to `independent_sampler`.
        independent_sampler: default `optuna.samplers.TPESampler`.
        prior: losses that single choices are expected to cost, ``{parameter: {choice: loss}}``, or by
            the place of a choice; parameters may be left out. With a known `cost` the plans that are
            best by these come first, and the loss model begins from them.

    Raises:
        InputError: a reference, prior or search space that cannot be used.

    Example:
        >>> import optuna
        >>> optuna.logging.set_verbosity(optuna.logging.WARNING)
        >>> cost = {f"layer{i}": {"fp32": 4.0, "w8": 2.0, "w4": 1.0} for i in range(4)}
        >>> loss = {"fp32": 0.0, "w8": 0.1, "w4": 1.0}
        >>> def objective(trial):
        ...     formats = {n: trial.suggest_categorical(n, ["fp32", "w8", "w4"]) for n in cost}
        ...     trial.set_constraint("budget", sum(cost[n][f] for n, f in formats.items()) - 10)
        ...     return sum((1 + int(n[-1])) * loss[f] for n, f in formats.items())
        >>> sampler = AdditiveSampler(cost, budget=10, constraint_name="budget", seed=0)
        >>> study = optuna.create_study(sampler=sampler)
        >>> study.optimize(objective, n_trials=15)
        >>> round(study.best_value, 6)
        0.6
    """

    # more parameters than elsewhere: Optuna's samplers are made by keywords, and so is this one
    def __init__(
        self,
        cost: AdditiveCost | Mapping[str, Mapping[Any, float]] | Callable[..., float] | None = None,
        budget: float | None = None,
        constraint_name: str | None = None,
        seed: int | None = None,
        *,
        search_space: Mapping[str, BaseDistribution] | None = None,
        reference: Mapping[str, Any] | None = None,
        kinds: Mapping[str, str] | None = None,
        scores: int = 1,
        max_choices: int = 32,
        independent_sampler: BaseSampler | None = None,
        prior: PriorLosses | None = None,
    ) -> None:
        self._cost = AdditiveCost.of(cost)
        self._budget = budget
        self._constraint_name = constraint_name
        self._entropy = _entropy(seed)
        self._search_space = None if search_space is None else dict(search_space)
        self._reference = dict(reference or {})
        self._kinds = dict(kinds or {})
        self._scores = scores
        self._max_choices = max_choices
        self._independent = independent_sampler or TPESampler(seed=seed)
        self._prior = {name: dict(losses) for name, losses in (prior or {}).items()}
        if self._search_space is not None:
            space = ChoiceSpace.of(self._search_space, self._reference, max_choices, self._kinds)
            PriorMean.of(space, self._prior)
        self._cache, self._lock = _Cache(), threading.RLock()

    def reseed_rng(self) -> None:
        """Draw a new seed, for copies of this sampler that must differ."""
        self._entropy = _entropy(None)
        self._independent.reseed_rng()

    def infer_relative_search_space(
        self, study: Study, trial: FrozenTrial
    ) -> dict[str, BaseDistribution]:
        """Parameters with few choices that every finished trial has."""
        known = self._search_space
        if known is None:
            with self._lock:
                known = self._cache_for(study).intersection.calculate(study)
        return {n: d for n, d in known.items() if self._can_choose(d)}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """The next plan; parameters the model cannot hold are drawn independently.

        Raises:
            ValueError: the study has more than two objectives.
        """
        if len(study.directions) > 2:
            raise ValueError(
                f"AdditiveSampler takes one or two objectives, the study has "
                f"{len(study.directions)}; make the others constraints with trial.set_constraint"
            )
        space = ChoiceSpace.of(search_space, self._reference, self._max_choices, self._kinds)
        params = self._choose(study, trial, space) if space.names else {}
        for name, distribution in search_space.items():
            if name not in params:
                params[name] = self._independent.sample_independent(
                    study, trial, name, distribution
                )
        return params

    def sample_independent(
        self,
        study: Study,
        trial: FrozenTrial,
        param_name: str,
        param_distribution: BaseDistribution,
    ) -> Any:
        """A parameter outside the model; the study's very first trial is the reference plan."""
        if trial.number == 0 and self._can_choose(param_distribution):
            choices = choices_of(param_distribution, self._max_choices) or ()
            wanted = self._reference.get(param_name, choices[0])
            if wanted in choices:
                return wanted
        return self._independent.sample_independent(study, trial, param_name, param_distribution)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Passed on to the independent sampler."""
        self._independent.before_trial(study, trial)

    def after_trial(
        self,
        study: Study,
        trial: FrozenTrial,
        state: TrialState,
        values: Sequence[float] | None,
    ) -> None:
        """Passed on to the independent sampler."""
        self._independent.after_trial(study, trial, state, values)

    def _choose(self, study: Study, trial: FrozenTrial, space: ChoiceSpace) -> dict[str, Any]:
        rng = np.random.default_rng([self._entropy, trial.number])
        trials = study.get_trials(deepcopy=False)
        with self._lock:
            cache = self._cache_for(study)
            if cache.advisor is None or cache.advisor.space != space:
                cache.advisor = Advisor(
                    space,
                    tuple(study.directions),
                    cost=self._cost,
                    budget=self._budget,
                    constraint_name=self._constraint_name,
                    scores=self._scores,
                    prior=self._prior,
                )
            with one_blas_thread():
                return space.decode(cache.advisor.advise(trials, trial.number, rng))

    def _can_choose(self, distribution: BaseDistribution) -> bool:
        choices = choices_of(distribution, self._max_choices)
        return choices is not None and len(choices) >= 2

    def _cache_for(self, study: Study) -> _Cache:
        """The cache of this study; what was kept for another one is dropped."""
        cache = self._cache
        if cache.storage is not study._storage or cache.study_id != study._study_id:
            cache = self._cache = _Cache(study._storage, study._study_id)
        return cache

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_cache", "_lock")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cache, self._lock = _Cache(), threading.RLock()


def _entropy(seed: int | None) -> int:
    return int(np.random.SeedSequence().generate_state(1)[0]) if seed is None else int(seed)
