"""Evaluations that samplers need for one target: the least loss of gsm-mini within so many milliseconds.

    python studies/search-efficiency/target.py [--samplers additive,tpe] [--seeds 5] [--minutes 14]
    python studies/search-efficiency/target.py --report

The problem and its losses are large.py's. Samplers run as in a search: the uncompressed plan and
the uniform plans that meet the target come first. Targets are shares of the uncompressed time. What
is printed is the least loss found, as a multiple of what the best plan within the target loses that
anybody ever tried. Finished runs are kept in results/target-visits.csv: run it again until it says
that nothing is missing.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import optuna
from gsm_mini import make_objective, overridden
from large import QUESTIONS, RESULTS, Losses
from race import Plan

from hwsearch.plan import CompressionPlan
from hwsearch.study import Objective
from hwsearch.study.run import enqueue
from hwsearch.study.samplers.catalog import SAMPLERS, make_sampler

RATIOS = (0.5, 0.6, 0.75)
CHECKPOINTS = (20, 30, 40, 60, 80)
Key = tuple[str, float, int]


def recorded(objective: Objective, losses: Losses) -> Objective:
    """The objective with its losses looked up."""

    def loss(self: Objective, plan: CompressionPlan) -> float:
        return losses(tuple(self.space.params(plan).values()))[0]

    return overridden(objective, loss=loss)


def run(objective: Objective, sampler: str, seed: int, trials: int) -> list[Plan]:
    """Plans of one search, in order."""
    study = optuna.create_study(sampler=make_sampler(sampler, seed, objective.known()))
    enqueue(study, objective)
    study.optimize(objective, n_trials=trials)
    return [tuple(trial.params.values()) for trial in study.get_trials(deepcopy=False)]


def read_runs(path: Path) -> dict[Key, list[Plan]]:
    """Finished runs by sampler, ratio and seed."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            (name, float(ratio), int(seed)): [tuple(map(int, p)) for p in plans.split()]
            for name, ratio, seed, plans in csv.reader(file)
        }


def curve(objective: Objective, losses: Losses, plans: Sequence[Plan]) -> np.ndarray:
    """Least loss within the target after each evaluation; infinity before there is one."""
    points = [losses(plan) for plan in plans]
    within = [loss if ms <= objective.target_ms else np.inf for loss, ms in points]
    return np.minimum.accumulate(within)


def report(objectives: dict[float, Objective], losses: Losses, runs: dict[Key, list[Plan]]) -> None:
    """One table a target: geometric means over seeds after so many evaluations, and each last."""
    everything = list(losses.known)
    for ratio, objective in objectives.items():
        best = curve(objective, losses, everything)[-1]
        print(f"target {ratio} of the uncompressed time; the best known plan loses {best:.3e} nats")
        print(f"{'least loss over the best':26}" + "".join(f"{n:>8}" for n in CHECKPOINTS))
        for name in SAMPLERS:
            mine = [runs[key] for key in sorted(runs) if key[:2] == (name, ratio)]
            if mine:
                curves = np.array([curve(objective, losses, plans) / best for plans in mine])
                shown = [n for n in CHECKPOINTS if n <= curves.shape[1]]
                means = np.exp(np.log(curves).mean(axis=0))
                each = ", ".join(f"{c[shown[-1] - 1]:.2f}" for c in curves)
                print(f"{name:26}" + "".join(f"{means[n - 1]:8.2f}" for n in shown), f"  {each}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samplers", default="additive,tpe,gp")
    parser.add_argument("--ratios", type=float, nargs="+", default=list(RATIOS))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=80)
    parser.add_argument("--minutes", type=float, default=14.0, help="begin no run after so long")
    parser.add_argument("--runs", type=Path, default=RESULTS / "target-visits.csv")
    parser.add_argument("--report", action="store_true", help="run nothing")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    base = make_objective(QUESTIONS)
    losses = Losses(base, RESULTS / "large-losses.csv")
    whole_ms = base.target_ms
    objectives = {
        ratio: recorded(base.with_target_ms(ratio * whole_ms), losses) for ratio in args.ratios
    }
    runs, stop = read_runs(args.runs), time.monotonic() + 60 * args.minutes
    jobs = [
        (name, ratio, seed)
        for seed in range(args.seeds)
        for ratio in args.ratios
        for name in args.samplers.split(",")
    ]
    for key in [] if args.report else [job for job in jobs if job not in runs]:
        if time.monotonic() > stop:
            print("out of time: run again to go on")
            break
        name, ratio, seed = key
        runs[key] = run(objectives[ratio], name, seed, args.trials)
        with args.runs.open("a", newline="") as file:
            plans = " ".join("".join(map(str, plan)) for plan in runs[key])
            csv.writer(file).writerow([*key, plans])
    report(objectives, losses, runs)


if __name__ == "__main__":
    main()
