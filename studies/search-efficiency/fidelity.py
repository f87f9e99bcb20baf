"""The large problem with trials that may stop early: work until the best stock sampler is reached.

    python studies/search-efficiency/fidelity.py [--seeds 5] [--work 100]

The problem, the reference front and the other samplers' visits are those of large.py. The additive
sampler searches with `fidelity = 0.25`: every trial is judged on one of the three states first, and
counts as the share of a whole evaluation's work that it took. Uniform plans are judged whole, as
they are for everyone, and a stopped plan is on no front. Finished runs are kept in
results/large-fidelity.jsonl; states that were judged are not, so a new run judges them anew.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from early import Arm, Judged, run
from large import QUESTIONS, RESULTS, load_problem
from race import NAMES, Point, corner, hypervolume
from visits import Visits

from hwsearch.study import ObjectiveKind
from hwsearch.study.early_stopping import EarlyStopping

FIDELITY = 0.25
KEPT = RESULTS / "large-fidelity.jsonl"
CHECKPOINTS = (30, 40, 50, 60, 75, 100)
TRIALS = 300  # of the other samplers


def read_runs() -> dict[int, list[dict[str, Any]]]:
    """Finished runs by seed."""
    rows = map(json.loads, KEPT.read_text().splitlines()) if KEPT.exists() else ()
    return {row["seed"]: row["trials"] for row in rows}


def search(seeds: int, work: float) -> dict[int, list[dict[str, Any]]]:
    """Runs of all seeds; those that are kept are not run again."""
    from gsm_mini import make_objective

    runs = read_runs()
    if all(seed in runs for seed in range(seeds)):
        return runs
    objective = make_objective(QUESTIONS).with_goal(objective=ObjectiveKind.FRONT)
    with tempfile.TemporaryDirectory() as folder:
        judged = Judged(objective, Path(folder) / "states.jsonl")
        for seed in range(seeds):
            if seed not in runs:
                found = run(objective, judged, Arm(EarlyStopping(fidelity=FIDELITY)), seed, work)
                runs[seed] = found["trials"]
                with KEPT.open("a") as file:
                    file.write(json.dumps({"seed": seed, **found}) + "\n")
    return runs


def points_of(trials: Sequence[dict[str, Any]]) -> list[Point]:
    """Loss and milliseconds of the trials that were judged whole."""
    return [(max(row["loss"], 0.0), row["ms"]) for row in trials if not row["stopped"]]


def curve(trials: Sequence[dict[str, Any]], reference: Point, whole: float) -> np.ndarray:
    """Work done and share of the hypervolume after each trial, [trials, 2]."""
    done = np.cumsum([row["share"] for row in trials])
    shares = [
        hypervolume(points_of(trials[: index + 1]), reference) / whole
        for index in range(len(trials))
    ]
    return np.stack((done, shares), axis=1)


def stock_points() -> dict[str, list[list[Point]]]:
    """What the other samplers found, run by run; only those with all their evaluations."""
    problem, losses = load_problem()
    visits = Visits(RESULTS / "large-visits.csv", 0)
    found = {}
    for name in NAMES:
        runs = [run for run in visits.runs(problem, name, 5, TRIALS) if len(run) == TRIALS]
        found[name] = [[losses(plan) for plan in run] for run in runs]
    return {name: runs for name, runs in found.items() if runs}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--work", type=float, default=100.0, help="whole evaluations of each run")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    runs, stock = search(args.seeds, args.work), stock_points()
    every = [point for found in stock.values() for run in found for point in run]
    every += [point for trials in runs.values() for point in points_of(trials)]
    reference = corner(every)
    whole = hypervolume(every, reference)
    ends = {
        name: float(np.median([hypervolume(run, reference) / whole for run in found]))
        for name, found in stock.items()
        if not name.startswith("additive")
    }
    best = max(ends, key=lambda name: ends[name])
    print(f"best stock sampler: {best}, {ends[best]:.5f} of the hypervolume after {TRIALS}")
    print(f"share after work of {CHECKPOINTS}, and the work until {best} is reached")
    reached = []
    for seed, trials in sorted(runs.items()):
        found = curve(trials, reference, whole)
        at = [found[found[:, 0] <= work + 1e-9, 1].max() for work in CHECKPOINTS]
        above = found[found[:, 1] >= ends[best], 0]
        reached.append(float(above[0]) if len(above) else float("inf"))
        stopped = sum(row["stopped"] for row in trials)
        text = " ".join(f"{share:.5f}" for share in at)
        print(
            f"seed {seed}: {text}   {reached[-1]:.1f}   ({len(trials)} trials, {stopped} stopped)"
        )
    print(f"median work: {np.median(reached):.1f}, a quarter of {TRIALS} is {TRIALS / 4:.0f}")


if __name__ == "__main__":
    main()
