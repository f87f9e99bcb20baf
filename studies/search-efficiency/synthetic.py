"""Share of the true hypervolume after so many evaluations, on made-up problems.

    python studies/search-efficiency/synthetic.py [--samplers additive,tpe] [--seeds 5] [--groups 6]

Groups of four formats (six make 4,096 plans). The loss is additive, plus pair interactions of a
chosen strength, saturating at four; the latency is additive. Hypervolume is against the worst loss
and the worst latency of all plans, or, with more than eight groups, of the plans that any sampler
visited, whose front then is the reference. Sizes are redrawn with every seed.
"""

from __future__ import annotations

import argparse
import time
from itertools import islice, product

import numpy as np
import optuna
from race import Plan, Point, Problem, describe, hypervolume, shares, visit

FORMATS = 4
SHAPE = np.array([0.0, 0.02, 0.15, 1.0])  # loss of the formats, most faithful first
SPEED = np.array([1.0, 0.72, 0.64, 0.42])  # their share of the first one's latency
CHECKPOINTS = (20, 40, 80, 120)
ENUMERATED = 8  # most groups whose every plan is looked at


def make_problem(seed: int, interaction: float, groups: int) -> Problem:
    """A problem with pair effects of size `interaction` against single effects."""
    rng = np.random.default_rng(seed)
    size = rng.lognormal(0, 0.8, groups)
    single = size[:, None] * SHAPE * rng.lognormal(0, 0.35, (groups, FORMATS))
    pairs = [(g, h) for g in range(groups) for h in range(g)]
    strength = {pair: interaction * rng.normal(0.3, 1) * 5 / (groups - 1) for pair in pairs}
    time_ms = rng.uniform(0.5, 1.5, groups)[:, None] * SPEED
    time_ms = time_ms * rng.normal(1, 0.03, time_ms.shape)

    def evaluate(plan: Plan) -> Point:
        own = single[np.arange(groups), plan]
        loss = own.sum() + sum(s * np.sqrt(own[g] * own[h]) for (g, h), s in strength.items())
        cost = 2 + time_ms[np.arange(groups), plan].sum()
        return float(4 * (1 - np.exp(-max(loss, 0.0) / 4))), float(cost)

    names = [f"g{g:02d}" for g in range(groups)]
    costs = {n: dict(enumerate(map(float, ms))) for n, ms in zip(names, time_ms, strict=True)}
    uniform = tuple((choice,) * groups for choice in range(FORMATS))
    return Problem(dict.fromkeys(names, FORMATS), costs, evaluate, uniform)


def race(problem: Problem, names: list[str], seed: int, trials: int) -> dict[str, list[Point]]:
    """What each sampler visits on one problem."""
    return {
        name: [problem.evaluate(plan) for plan in islice(visit(problem, name, seed), trials)]
        for name in names
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samplers", default="additive,tpe,cmaes,nsga2,random")
    parser.add_argument("--interactions", default="0,0.15,0.4,0.8")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=120)
    parser.add_argument("--groups", type=int, default=6)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    names = args.samplers.split(",")
    for interaction in map(float, args.interactions.split(",")):
        start, curves = time.perf_counter(), {name: [] for name in names}
        for seed in range(args.seeds):
            problem = make_problem(seed, interaction, args.groups)
            found = race(problem, names, seed, args.trials)
            every = [point for points in found.values() for point in points]
            if args.groups <= ENUMERATED:
                plans = product(range(FORMATS), repeat=args.groups)
                every = [problem.evaluate(plan) for plan in plans]
            reference = (max(loss for loss, _ in every), max(ms for _, ms in every))
            whole = hypervolume(every, reference)
            for name, points in found.items():
                curves[name].append(shares(points, reference, whole))
        print(f"interaction {interaction}, share after {CHECKPOINTS}", flush=True)
        for name in names:
            print(describe(name, curves[name], CHECKPOINTS))
        print(f"{time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main()
