"""Samplers by the name a user spells in a flag or a study file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import optuna

from hwsearch.errors import UnknownNameError

Costs = Mapping[str, Mapping[Any, float]]


def _additive(seed: int, costs: Costs, budget: float) -> optuna.samplers.BaseSampler:
    from hwsearch.search.additive import AdditiveSampler

    return AdditiveSampler(cost=costs, budget=budget, seed=seed)


def _tpe(seed: int, costs: Costs, budget: float) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(multivariate=True, seed=seed)


def _gp(seed: int, costs: Costs, budget: float) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=seed)


def _nsga2(seed: int, costs: Costs, budget: float) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(seed=seed)


def _random(seed: int, costs: Costs, budget: float) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int, Costs, float], optuna.samplers.BaseSampler]] = {
    "additive": _additive,
    "tpe": _tpe,
    "gp": _gp,
    "nsga2": _nsga2,
    "random": _random,
}


def make_sampler(
    name: str, *, seed: int, costs: Costs, budget: float
) -> optuna.samplers.BaseSampler:
    """A sampler by name.

    Args:
        name: one of `SAMPLERS`.
        seed: the sampler's seed.
        costs: milliseconds that each choice of each parameter adds.
        budget: most milliseconds that the choices of a plan may add together.

    Raises:
        UnknownNameError: no such sampler.
    """
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, SAMPLERS)
    return SAMPLERS[name](seed, costs, budget)
