"""Share of the true hypervolume after so many evaluations, on fully enumerated problems.

    python studies/search-efficiency/synthetic.py [--samplers additive,tpe] [--seeds 5] [--json F]

Six groups of four formats, 4,096 plans. The loss is additive, plus pair interactions of a chosen
strength, saturating at four; the latency is additive. Hypervolume is against the worst loss and
the worst latency of all plans. Group sizes are redrawn with every seed.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import optuna
from numpy.typing import NDArray
from optuna.samplers import BaseSampler, GPSampler, NSGAIISampler, RandomSampler, TPESampler

from hwsearch.search.additive import AdditiveSampler

GROUPS, FORMATS = 6, 4
SHAPE = np.array([0.0, 0.02, 0.15, 1.0])  # loss of the formats, most faithful first
SPEED = np.array([1.0, 0.72, 0.64, 0.42])  # their share of the first one's latency
CHECKPOINTS = (20, 40, 80, 120)
Table = dict[str, dict[int, float]]


@dataclass(frozen=True)
class Problem:
    """An enumerated problem: loss and latency of every plan, plans in lexicographic order."""

    loss: NDArray[np.float64]
    cost: NDArray[np.float64]
    terms: Table

    def index(self, plan: list[int]) -> int:
        """Position of a plan."""
        return int(np.ravel_multi_index(plan, (FORMATS,) * GROUPS))


def make_problem(seed: int, interaction: float) -> Problem:
    """A problem with pair effects of size `interaction` against single effects."""
    rng = np.random.default_rng(seed)
    size = rng.lognormal(0, 0.8, GROUPS)
    single = size[:, None] * SHAPE * rng.lognormal(0, 0.35, (GROUPS, FORMATS))
    plans = np.indices((FORMATS,) * GROUPS).reshape(GROUPS, -1)
    loss = single[np.arange(GROUPS)[:, None], plans].sum(axis=0)
    for g in range(GROUPS):
        for h in range(g):
            strength = interaction * rng.normal(0.3, 1)
            loss += strength * np.sqrt(single[g][plans[g]] * single[h][plans[h]])
    loss = 4 * (1 - np.exp(-np.maximum(loss, 0) / 4))
    time_ms = rng.uniform(0.5, 1.5, GROUPS)[:, None] * SPEED
    time_ms = time_ms * rng.normal(1, 0.03, time_ms.shape)
    cost = 2 + time_ms[np.arange(GROUPS)[:, None], plans].sum(axis=0)
    terms = {f"g{g}": dict(enumerate(map(float, time_ms[g]))) for g in range(GROUPS)}
    return Problem(loss, cost, terms)


def hypervolume(problem: Problem, indices: list[int] | slice) -> float:
    """Area between the front of some plans and the worst loss and latency."""
    loss, cost = problem.loss[indices], problem.cost[indices]
    best, area = float(problem.loss.max()), 0.0
    for i in np.lexsort((loss, cost)):
        if loss[i] < best:
            area += (best - float(loss[i])) * (float(problem.cost.max()) - float(cost[i]))
            best = float(loss[i])
    return area


SAMPLERS: dict[str, Callable[[Problem, int], BaseSampler]] = {
    "additive": lambda p, seed: AdditiveSampler(p.terms, seed=seed),
    "additive-learned-cost": lambda p, seed: AdditiveSampler(seed=seed),
    "gp": lambda p, seed: GPSampler(seed=seed),
    "tpe": lambda p, seed: TPESampler(seed=seed, multivariate=True),
    "nsga2": lambda p, seed: NSGAIISampler(seed=seed, population_size=20),
    "random": lambda p, seed: RandomSampler(seed=seed),
}


def curve(problem: Problem, sampler: BaseSampler, trials: int) -> list[float]:
    """Share of the true hypervolume after each evaluation; uniform plans come first for all."""
    visited: list[int] = []

    def objective(trial: optuna.Trial) -> tuple[float, float]:
        plan = [trial.suggest_int(f"g{g}", 0, FORMATS - 1) for g in range(GROUPS)]
        visited.append(problem.index(plan))
        return float(problem.loss[visited[-1]]), float(problem.cost[visited[-1]])

    study = optuna.create_study(directions=["minimize"] * 2, sampler=sampler)
    for choice in range(FORMATS):
        study.enqueue_trial({f"g{g}": choice for g in range(GROUPS)})
    study.optimize(objective, n_trials=trials)
    whole = hypervolume(problem, slice(None))
    return [hypervolume(problem, visited[: n + 1]) / whole for n in range(trials)]


def first_above(shares: list[float], bound: float) -> int | None:
    """Evaluations until the share reaches `bound`; None if it never does."""
    return next((n + 1 for n, share in enumerate(shares) if share >= bound), None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samplers", default="additive,tpe,nsga2,random")
    parser.add_argument("--interactions", default="0,0.15,0.4,0.8")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--json", type=Path, help="write every curve to this file")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    results = []
    for interaction in map(float, args.interactions.split(",")):
        for name in args.samplers.split(","):
            start = time.perf_counter()
            curves = []
            for seed in range(args.seeds):
                problem = make_problem(seed, interaction)
                curves.append(curve(problem, SAMPLERS[name](problem, seed), args.trials))
            mean = np.mean(curves, axis=0)
            shares = " ".join(f"{mean[n - 1]:.4f}" for n in CHECKPOINTS if n <= args.trials)
            reach = {b: [first_above(c, b) for c in curves] for b in (0.99, 0.999)}
            print(
                f"interaction {interaction:4} {name:21} at {CHECKPOINTS}: {shares}  "
                f"99 %: {reach[0.99]}  99.9 %: {reach[0.999]}  "
                f"{time.perf_counter() - start:.0f} s",
                flush=True,
            )
            results.append({"interaction": interaction, "sampler": name, "curves": curves})
    if args.json:
        args.json.write_text(json.dumps(results))


if __name__ == "__main__":
    main()
