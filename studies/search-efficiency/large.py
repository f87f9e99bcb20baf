"""Evaluations that samplers need when every layer of gsm-mini is free: 80⁶·4 plans on `cpu`.

    python studies/search-efficiency/large.py [--samplers additive,tpe] [--seeds 5] [--minutes 14]
    python studies/search-efficiency/large.py --report [--draw docs/images/search-large.png]

Each layer chooses a sink threshold, a format of its attention and one of its mlp; the head chooses
a format. Run it again until it prints that nothing is missing: runs that were finished are kept in
results/large-visits.csv, and losses, shared by all samplers, in results/large-losses.csv. The
reference front is made of every plan that any sampler visited, and the hypervolume is measured from
its ends. The last lines say after how many evaluations the additive sampler, in the median of its
seeds, reaches what the best stock sampler has in the median after all of its own.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import optuna
from gsm_mini import make_objective
from numpy.typing import NDArray
from race import NAMES, Plan, Point, Problem, corner, describe, first_above, hypervolume, shares
from visits import Visits

from hwsearch.study import Objective

RESULTS = Path(__file__).parent / "results"
QUESTIONS = 2
CHECKPOINTS = (40, 75, 150, 300)


class Losses:
    """Loss and milliseconds of plans; every loss is computed once and kept in a file."""

    def __init__(self, objective: Objective, path: Path) -> None:
        self.objective, self.path = objective, path
        self.known: dict[Plan, float] = {}
        if path.exists():
            with path.open(newline="") as file:
                rows = csv.reader(file)
                self.known = {tuple(map(int, plan)): float(loss) for plan, loss in rows}

    def __call__(self, row: Plan) -> Point:
        """Loss and milliseconds of one plan."""
        names = self.objective.space.parameters()
        plan = self.objective.space.plan(dict(zip(names, row, strict=True)))
        if row not in self.known:
            self.known[row] = max(self.objective.loss(plan), 0.0)
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow(["".join(map(str, row)), f"{self.known[row]:.6e}"])
        return self.known[row], self.objective.latency(plan).generation_ms


def load_problem() -> tuple[Problem, Losses]:
    """The problem, and what evaluates it."""
    objective = make_objective(QUESTIONS)
    losses = Losses(objective, RESULTS / "large-losses.csv")
    space = objective.space
    sizes = {name: len(choices) for name, choices in space.parameters().items()}
    uniform = tuple(tuple(space.params(plan).values()) for plan in space.uniform_plans())
    return Problem(sizes, objective.costs(), losses, uniform, space.kinds()), losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samplers", default=",".join(NAMES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=14.0, help="begin no run after so long")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--draw", type=Path, help="also draw the curves to this file")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problem, losses = load_problem()
    visits = Visits(RESULTS / "large-visits.csv", 0 if args.report else args.minutes)
    names = args.samplers.split(",")
    runs = {n: visits.runs(problem, n, args.seeds, args.trials) for n in names}
    missing = sum(len(run) < args.trials for found in runs.values() for run in found)
    missing += sum(args.seeds - len(found) for found in runs.values())
    print(f"{missing} runs are missing: run this again" if missing else "nothing is missing")
    points = {
        name: [[losses(plan) for plan in run] for run in found]
        for name, found in runs.items()
        if found
    }
    every = [point for found in points.values() for run in found for point in run]
    reference = corner(every)
    whole = hypervolume(every, reference)
    curves = {n: [shares(run, reference, whole) for run in found] for n, found in points.items()}
    print(f"share of the reference front's hypervolume after {CHECKPOINTS}")
    for name, found in curves.items():
        print(describe(name, found, CHECKPOINTS))
    compare(curves)
    if args.draw:
        from draw import draw_curves

        draw_curves(curves, args.draw, "gsm-mini on cpu, every layer free")


def compare(curves: Mapping[str, list[NDArray[np.float64]]]) -> None:
    """Print when the additive sampler reaches what each stock sampler ends with."""
    median = {
        name: np.median([c[: min(map(len, found))] for c in found], axis=0)
        for name, found in curves.items()
    }
    for name, curve in median.items():
        if "additive" in median and name != "additive":
            reached = first_above(median["additive"], curve[-1])
            print(f"{name}'s {curve[-1]:.5f} after {len(curve)}: additive after {reached}")


if __name__ == "__main__":
    main()
