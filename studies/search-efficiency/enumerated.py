"""Evaluations that samplers need on gsm-mini's 4,096 enumerated plans, whose true front is known.

    python studies/search-efficiency/enumerated.py [--samplers additive,gp] [--seeds 5] [--trials 300]
    python studies/search-efficiency/enumerated.py --draw docs/images/search-enumerated.png

The loss of a plan is looked up in results/enumerated.csv (made by enumerate_gsm_mini.py). What a
sampler visited is kept in results/enumerated-visits.csv: what is there is not run again.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import optuna
import pandas as pd
from race import NAMES, Plan, Point, Problem, corner, describe, hypervolume, shares
from visits import Visits

RESULTS = Path(__file__).parent / "results"
LAYERS, FORMATS = 6, 4
CHECKPOINTS = (40, 80, 120, 300)


def load_problem() -> tuple[Problem, dict[Plan, Point]]:
    """The problem, and loss and milliseconds of each plan."""
    frame = pd.read_csv(RESULTS / "enumerated.csv", dtype={"plan": str})
    rows = zip(frame["plan"], frame["loss"].clip(lower=0), frame["generation_ms"], strict=True)
    table = {tuple(map(int, digits)): (loss, ms) for digits, loss, ms in rows}
    if len(table) != FORMATS**LAYERS:
        raise SystemExit(f"{len(table)} plans only: run enumerate_gsm_mini.py to its end first")
    base = table[(0,) * LAYERS][1]
    costs = {
        f"layer{layer}": {
            choice: table[(*[0] * layer, choice, *[0] * (LAYERS - 1 - layer))][1] - base
            for choice in range(FORMATS)
        }
        for layer in range(LAYERS)
    }
    sizes = dict.fromkeys(costs, FORMATS)
    uniform = tuple((choice,) * LAYERS for choice in range(FORMATS))
    return Problem(sizes, costs, table.__getitem__, uniform), table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samplers", default=",".join(NAMES))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=300)
    parser.add_argument("--minutes", type=float, default=14.0, help="stop running after so long")
    parser.add_argument("--fresh", action="store_true", help="ignore what was visited before")
    parser.add_argument("--draw", type=Path, help="also draw the curves to this file")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    problem, table = load_problem()
    visits = Visits(None if args.fresh else RESULTS / "enumerated-visits.csv", args.minutes)
    for kind, reference in (
        ("reference: worst plan", tuple(map(max, zip(*table.values(), strict=True)))),
        ("reference: ends of the true front", corner(table.values())),
    ):
        whole = hypervolume(table.values(), reference)
        print(f"{kind}; share of the true hypervolume after {CHECKPOINTS}")
        curves = {}
        for name in args.samplers.split(","):
            runs = visits.runs(problem, name, args.seeds, args.trials)
            if not runs:
                continue
            points = [[table[plan] for plan in run] for run in runs]
            curves[name] = [shares(run, reference, whole) for run in points]
            print(describe(name, curves[name], CHECKPOINTS), flush=True)
    if args.draw:
        from draw import draw_curves

        draw_curves(curves, args.draw, "gsm-mini on cpu, 4,096 plans enumerated")


if __name__ == "__main__":
    main()
