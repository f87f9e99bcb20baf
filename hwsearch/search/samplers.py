"""Samplers by the name a user spells in a flag or a study file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from hwsearch.errors import UnknownNameError

#: Name of the constraint in every study: predicted milliseconds above the target.
LATENCY = "generation_ms"


@dataclass(frozen=True)
class Known:
    """What is known of a search before its first trial.

    Attributes:
        distributions: the parameters.
        costs: milliseconds that each choice of each parameter adds.
        budget_ms: most milliseconds that the choices of a plan may add together.
    """

    distributions: Mapping[str, optuna.distributions.BaseDistribution]
    costs: Mapping[str, Mapping[Any, float]]
    budget_ms: float


def _additive(seed: int, known: Known) -> optuna.samplers.BaseSampler:
    from hwsearch.search.additive import AdditiveSampler

    return AdditiveSampler(
        known.costs, known.budget_ms, LATENCY, seed, search_space=known.distributions
    )


def _tpe(seed: int, known: Known) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(multivariate=True, seed=seed)


def _gp(seed: int, known: Known) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=seed)


def _nsga2(seed: int, known: Known) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(seed=seed)


def _random(seed: int, known: Known) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int, Known], optuna.samplers.BaseSampler]] = {
    "additive": _additive,
    "tpe": _tpe,
    "gp": _gp,
    "nsga2": _nsga2,
    "random": _random,
}


def make_sampler(name: str, seed: int, known: Known) -> optuna.samplers.BaseSampler:
    """A sampler by name.

    Raises:
        UnknownNameError: `name` is not one of `SAMPLERS`.
    """
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, SAMPLERS)
    return SAMPLERS[name](seed, known)
