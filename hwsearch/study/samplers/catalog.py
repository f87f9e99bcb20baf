"""Samplers by the name a user spells in a flag or a study file."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import optuna

from hwsearch.errors import InputError, UnknownNameError
from hwsearch.study.choices.cost_tables import CostTables
from hwsearch.study.choices.search_space import DECODING

#: Name of the constraint in every study: predicted milliseconds above the target.
LATENCY = "generation_ms"

#: Name of the constraint where energy is limited beside the target: joules above the limit.
ENERGY = "generation_joules"

#: Name of the constraint where bytes are limited: bytes above the limit.
SIZE = "size_bytes"


@dataclass(frozen=True)
class Known:
    """What is known of a search before its first trial.

    Attributes:
        distributions: the parameters.
        costs: milliseconds that the choices of parameters add.
        budget_ms: most milliseconds that the choices of a plan may add together; None where
            latency is an objective.
        kinds: what each parameter sets; those of one kind have like effects.
        reference: choices, other than the first, that plans are varied from.
        prior: losses that single choices are expected to cost, by parameter and the choice's index.
    """

    distributions: Mapping[str, optuna.distributions.BaseDistribution]
    costs: CostTables
    budget_ms: float | None
    kinds: Mapping[str, str]
    reference: Mapping[str, int] = field(default_factory=dict)
    prior: Mapping[str, Mapping[int, float]] = field(default_factory=dict)


def _additive(seed: int, known: Known) -> optuna.samplers.BaseSampler:
    from hwsearch.study.samplers.additive import AdditiveSampler
    from hwsearch.study.samplers.additive.cost import AdditiveCost

    return AdditiveSampler(
        AdditiveCost.of_tables(known.costs, DECODING),
        known.budget_ms,
        LATENCY,
        seed,
        search_space=known.distributions,
        kinds=known.kinds,
        reference=known.reference,
        prior=known.prior,
    )


def _tpe(seed: int, known: Known) -> optuna.samplers.BaseSampler:
    return optuna.samplers.TPESampler(multivariate=True, seed=seed)


def _gp(seed: int, known: Known) -> optuna.samplers.BaseSampler:
    return optuna.samplers.GPSampler(seed=seed, deterministic_objective=True)


def _nsga2(seed: int, known: Known) -> optuna.samplers.BaseSampler:
    return optuna.samplers.NSGAIISampler(seed=seed)


def _cmaes(seed: int, known: Known) -> optuna.samplers.BaseSampler:
    if importlib.util.find_spec("cmaes") is None:
        raise InputError('sampler "cmaes" needs: pip install cmaes')
    if known.budget_ms is None:
        raise InputError(
            'sampler "cmaes" takes one objective; set objective = "loss", or another sampler'
        )
    from hwsearch.study.samplers.penalised_cmaes import PenalisedCmaEs

    return PenalisedCmaEs(seed=seed)


def _random(seed: int, known: Known) -> optuna.samplers.BaseSampler:
    return optuna.samplers.RandomSampler(seed=seed)


SAMPLERS: dict[str, Callable[[int, Known], optuna.samplers.BaseSampler]] = {
    "additive": _additive,
    "tpe": _tpe,
    "gp": _gp,
    "nsga2": _nsga2,
    "cmaes": _cmaes,
    "random": _random,
}


def check_sampler(name: str) -> None:
    """Refuse a name that is none of `SAMPLERS`. Raises `UnknownNameError`."""
    if name not in SAMPLERS:
        raise UnknownNameError("sampler", name, SAMPLERS)


def make_sampler(name: str, seed: int, known: Known) -> optuna.samplers.BaseSampler:
    """A sampler by name. Raises `UnknownNameError` if it is none of `SAMPLERS`."""
    check_sampler(name)
    return SAMPLERS[name](seed, known)
