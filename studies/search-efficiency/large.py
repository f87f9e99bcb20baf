"""Evaluations that samplers need when every layer of gsm-mini is free: 80⁶·4 plans on `cpu`.

    python studies/search-efficiency/large.py [--samplers additive,tpe] [--seeds 5] [--minutes 14]
    python studies/search-efficiency/large.py --report [--draw docs/images/search-large.png]
    python studies/search-efficiency/large.py --samplers additive-prior,additive,tpe --results FOLDER

Each layer chooses a sink threshold, a format of its attention and one of its mlp; the head chooses
a format. Run it again until it prints that nothing is missing: runs that were finished are kept in
results/large-visits.csv, and losses, shared by all samplers, in results/large-losses.csv. The
reference front is made of every plan that any sampler visited, and the hypervolume is measured from
its ends. The last lines say after how many evaluations the additive sampler, in the median of its
seeds, reaches what the best stock sampler has in the median after all of its own.

`additive-prior` begins from estimated losses of formats (`hwsearch.study.sensitivities`). Losses in
results/ are of before the codes of `w8a8` were paired, which changed some by half: compare it with
samplers that are run anew, in a folder of their own.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import optuna
from gsm_mini import make_objective
from numpy.typing import NDArray
from race import NAMES, Plan, Point, Problem, corner, describe, first_above, hypervolume, shares
from visits import Visits

from hwsearch.study import Objective
from hwsearch.study.sensitivities import PruningChoices, measure_sensitivities
from hwsearch.tasks.losses.loss import DivergenceLoss

RESULTS = Path(__file__).parent / "results"
QUESTIONS = 2
CHECKPOINTS = (40, 75, 150, 300)


class Losses:
    """Loss and milliseconds of plans; every loss is computed once and kept in a file.

    Args:
        objective: what evaluates a plan.
        path: of the file.
        keeps_times: whether times are kept, too, since they take a decoding.
    """

    def __init__(self, objective: Objective, path: Path, keeps_times: bool = False) -> None:
        self.objective, self.path, self.keeps_times = objective, path, keeps_times
        self.known: dict[Plan, float] = {}
        self.times: dict[Plan, float] = {}
        if path.exists():
            with path.open(newline="") as file:
                for text, loss, *ms in csv.reader(file):
                    plan = tuple(map(int, text))
                    self.known[plan] = float(loss)
                    if ms:
                        self.times[plan] = float(ms[0])

    def __call__(self, row: Plan) -> Point:
        """Loss and milliseconds of one plan."""
        names = self.objective.space.parameters()
        plan = self.objective.space.plan(dict(zip(names, row, strict=True)))
        if row not in self.known:
            self.known[row] = max(self.objective.loss(plan), 0.0)
            cells = ["".join(map(str, row)), f"{self.known[row]:.6e}"]
            if self.keeps_times:
                self.times[row] = self.objective.latency(plan).generation_ms
                cells.append(f"{self.times[row]:.6f}")
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow(cells)
        known = self.times.get(row)
        return self.known[row], known or self.objective.latency(plan).generation_ms


def load_problem(results: Path = RESULTS) -> tuple[Problem, Losses]:
    """The problem, and what evaluates it."""
    objective = make_objective(QUESTIONS)
    losses = Losses(objective, results / "large-losses.csv")
    space = objective.space
    sizes = {name: len(choices) for name, choices in space.parameters().items()}
    uniform = tuple(tuple(space.params(plan).values()) for plan in space.uniform_plans())
    network, states = objective.denoiser.network, objective.loss_function
    assert isinstance(states, DivergenceLoss)
    dropping = space.dropping(objective.sinks)
    found = measure_sensitivities(network, states, space.formats, pruning=PruningChoices(dropping))
    prior = found.prior(space)
    return Problem(sizes, objective.costs(), losses, uniform, space.kinds(), prior), losses


def main() -> None:
    """Race on the free layers of gsm-mini."""
    run(__doc__, load_problem, "large", "gsm-mini on cpu, every layer free")


def run(
    document: str | None,
    load: Callable[[Path], tuple[Problem, Losses]],
    name: str,
    title: str,
    samplers: Sequence[str] = NAMES,
) -> None:
    """Race samplers on a problem, by the command line; `name` begins the files in results/."""
    parser = argparse.ArgumentParser(description=(document or "").splitlines()[0])
    parser.add_argument("--samplers", default=",".join(samplers))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=14.0, help="begin no run after so long")
    parser.add_argument("--report", action="store_true", help="run nothing")
    parser.add_argument("--draw", type=Path, help="also draw the curves to this file")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of runs and losses")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problem, losses = load(args.results)
    visits = Visits(args.results / f"{name}-visits.csv", 0 if args.report else args.minutes)
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
    for sampler, found in curves.items():
        print(describe(sampler, found, CHECKPOINTS))
    compare(curves)
    if args.draw:
        from draw import draw_curves

        draw_curves(curves, args.draw, title)


def compare(curves: Mapping[str, list[NDArray[np.float64]]]) -> None:
    """Print when the additive samplers reach what each stock sampler ends with."""
    median = {
        name: np.median([c[: min(map(len, found))] for c in found], axis=0)
        for name, found in curves.items()
    }
    ours = [name for name in ("additive", "additive-prior") if name in median]
    for name, curve in median.items():
        for own in ours if name not in ours else []:
            reached = first_above(median[own], curve[-1])
            each = [first_above(one, curve[-1]) for one in curves[own]]
            print(
                f"{name}'s {curve[-1]:.5f} after {len(curve)}: {own} after {reached}, by seed {each}"
            )


if __name__ == "__main__":
    main()
