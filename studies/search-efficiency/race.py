"""What every efficiency study shares: samplers on one problem, hypervolumes, curves and a table.

A problem is (loss, latency) of plans that are tuples of choice indices. Every sampler proposes
plans for both objectives and begins with the problem's uniform plans; the additive sampler is told
the latency of each choice, as it is in a search. CMA-ES knows one objective only: five weighted
sums of the two, scaled by what the uniform plans span, take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import (
    BaseSampler,
    CmaEsSampler,
    GPSampler,
    NSGAIISampler,
    RandomSampler,
    TPESampler,
)

from hwsearch.study.samplers.additive import AdditiveSampler
from hwsearch.study.samplers.additive.cost import AdditiveCost

Plan = tuple[int, ...]
Point = tuple[float, float]
Table = dict[str, dict[int, float]]
WEIGHTS = (0.1, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True)
class Problem:
    """What is raced on.

    Attributes:
        sizes: number of choices by parameter.
        costs: latency of each choice, up to a constant; of choices that act together, an `AdditiveCost`.
        evaluate: loss and latency of a plan.
        uniform: the plans every sampler begins with.
        kinds: what each parameter sets, where they differ.
        prior: losses that single choices are estimated to cost, for `additive-prior` alone.
    """

    sizes: dict[str, int]
    costs: Table | AdditiveCost
    evaluate: Callable[[Plan], Point]
    uniform: tuple[Plan, ...]
    kinds: dict[str, str] = field(default_factory=dict)
    prior: Table = field(default_factory=dict)


SAMPLERS: dict[str, Callable[[Problem, int], BaseSampler]] = {
    "additive": lambda p, seed: AdditiveSampler(p.costs, seed=seed, kinds=p.kinds),
    "additive-prior": lambda p, seed: AdditiveSampler(
        p.costs, seed=seed, kinds=p.kinds, prior=p.prior
    ),
    "additive-learned-cost": lambda p, seed: AdditiveSampler(seed=seed, kinds=p.kinds),
    "tpe": lambda p, seed: TPESampler(seed=seed, multivariate=True),
    "gp": lambda p, seed: GPSampler(seed=seed, deterministic_objective=True),
    "nsga2": lambda p, seed: NSGAIISampler(seed=seed, population_size=20),
    "random": lambda p, seed: RandomSampler(seed=seed),
}
NAMES = (*(name for name in SAMPLERS if name != "additive-prior"), "cmaes")


def visit(problem: Problem, name: str, seed: int) -> Iterator[Plan]:
    """The plans that a sampler evaluates, one by one, without end."""
    if name == "cmaes":
        return _visit_weighted(problem, seed)
    return _visit_both(problem, SAMPLERS[name](problem, seed))


def _visit_both(problem: Problem, sampler: BaseSampler) -> Iterator[Plan]:
    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    for plan in problem.uniform:
        study.enqueue_trial(dict(zip(problem.sizes, plan, strict=True)))
    while True:
        trial, plan = _ask(study, problem)
        point = problem.evaluate(plan)
        trial.set_user_attr("generation_ms", point[1])  # what a trial of a search keeps
        study.tell(trial, point)
        yield plan


def _visit_weighted(problem: Problem, seed: int) -> Iterator[Plan]:
    points = np.array([problem.evaluate(plan) for plan in problem.uniform])
    yield from problem.uniform
    span = np.ptp(points, axis=0)
    samplers = [CmaEsSampler(seed=seed + 1000 * i) for i in range(len(WEIGHTS))]
    studies = [optuna.create_study(sampler=sampler) for sampler in samplers]
    for study, weight in cycle(zip(studies, WEIGHTS, strict=True)):
        trial, plan = _ask(study, problem)
        loss, latency = np.array(problem.evaluate(plan)) / span
        study.tell(trial, weight * loss + (1 - weight) * latency)
        yield plan


def _ask(study: optuna.Study, problem: Problem) -> tuple[optuna.Trial, Plan]:
    trial = study.ask()
    return trial, tuple(trial.suggest_int(n, 0, size - 1) for n, size in problem.sizes.items())


def hypervolume(points: Iterable[Point], reference: Point) -> float:
    """Area that (loss, latency) points dominate below a reference."""
    best, area = reference[0], 0.0
    for latency, loss in sorted((ms, loss) for loss, ms in points):
        if loss < best and latency < reference[1]:
            area += (best - loss) * (reference[1] - latency)
            best = loss
    return area


def shares(points: Sequence[Point], reference: Point, whole: float) -> NDArray[np.float64]:
    """Share of the hypervolume `whole` after each evaluation, [evaluations]."""
    front: list[Point] = []
    out = []
    for point in points:
        if not any(f[0] <= point[0] and f[1] <= point[1] for f in front):
            front = [f for f in front if f[0] < point[0] or f[1] < point[1]] + [point]
        out.append(hypervolume(front, reference) / whole)
    return np.array(out)


def corner(points: Iterable[Point]) -> Point:
    """The worst loss and the worst latency on the front of some points."""
    best, front = float("inf"), []
    for latency, loss in sorted((ms, loss) for loss, ms in points):
        if loss < best:
            best = loss
            front.append((loss, latency))
    return front[0][0], front[-1][1]


def first_above(curve: Sequence[float] | NDArray[np.float64], bound: float) -> int | None:
    """Evaluations until the share reaches `bound`; None if it never does."""
    return next((n + 1 for n, share in enumerate(curve) if share >= bound), None)


def describe(name: str, curves: Sequence[NDArray[np.float64]], at: Sequence[int]) -> str:
    """One line: mean shares after some evaluations, and when each seed reached 99 and 99.9 %."""
    length = min(len(curve) for curve in curves)
    mean = np.mean([curve[:length] for curve in curves], axis=0)
    columns = " ".join(f"{mean[n - 1]:.5f}" if n <= length else "   -   " for n in at)
    reach = [
        " ".join(str(first_above(curve, bound) or f">{len(curve)}") for curve in curves)
        for bound in (0.99, 0.999)
    ]
    return f"{name:22} {columns}   99 %: {reach[0]:24} 99.9 %: {reach[1]}"
