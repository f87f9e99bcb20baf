"""What stopping trials early saves, and what it costs, on gsm-mini: loss against states judged.

    python studies/search-efficiency/early.py [--minutes 14] [--seeds 3] [--work 40]
    python studies/search-efficiency/early.py --report

Every arm searches the same problem with the additive sampler until it has judged as many states as
`--work` whole evaluations would. All states of every plan that any arm tries are judged once and
kept in results/early-states.jsonl, so arms are compared on the same numbers, a stopped plan's true
loss is known, and a run that is cut off goes on where it was; finished runs are kept in
results/early-runs.jsonl.

Arms: `whole` stops nothing. `wilcoxon` and `fidelity` are the two rules, `both` is both. `untold`
keeps the estimates of stopped trials from the sampler, `shuffled` judges states in a random order
in place of the most uncertain first, `refine` goes from tied layers to free ones and stops nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import torch
from gsm_mini import DEVICE, overridden
from race import corner, hypervolume

from hwsearch.compression import compress
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.latency.devices.device import load_device
from hwsearch.plan import CompressionPlan
from hwsearch.study import Goal, Objective, ObjectiveKind, SearchSpace, prepare
from hwsearch.study.choices.linear_groups import TOGETHER
from hwsearch.study.early_stopping import EarlyStopping, Peer, estimate
from hwsearch.study.preparation import default_workload
from hwsearch.study.records.study import ended
from hwsearch.study.records.trial_record import TrialRecord
from hwsearch.study.refinement import run_refined
from hwsearch.study.run import run_study
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses.by_state import StateLoss, shuffled

RESULTS = Path(__file__).parent / "results"
STEP = 8  # trials between two looks at the work done
CHECKPOINTS = (15, 20, 30, 40)


class Untold(EarlyStopping):
    """Stops as `EarlyStopping` does, and keeps the estimate to itself."""

    def estimate_attributes(self, *_: Any) -> dict[str, Any]:
        return {}


@dataclass(frozen=True)
class Arm:
    """A way to search."""

    early: EarlyStopping
    shuffled: bool = False
    refined: bool = False


ARMS = {
    "whole": Arm(EarlyStopping()),
    "wilcoxon": Arm(EarlyStopping("wilcoxon")),
    "fidelity": Arm(EarlyStopping(fidelity=0.25)),
    "both": Arm(EarlyStopping("wilcoxon", 0.25)),
    "refine": Arm(EarlyStopping(), refined=True),
    "fidelity-untold": Arm(Untold(fidelity=0.25)),
    "wilcoxon-untold": Arm(Untold("wilcoxon")),
    "fidelity-shuffled": Arm(EarlyStopping(fidelity=0.25), shuffled=True),
    "wilcoxon-shuffled": Arm(EarlyStopping("wilcoxon"), shuffled=True),
}


class Judged:
    """Losses of all states of plans, each judged once and kept in a file."""

    def __init__(self, objective: Objective, path: Path) -> None:
        self.objective, self.path = objective, path
        self.known: dict[str, list[list[float]]] = {}
        if path.exists():
            rows = (json.loads(line) for line in path.read_text().splitlines())
            self.known = {row["plan"]: row["states"] for row in rows}

    def __call__(self, plan: CompressionPlan) -> list[list[float]]:
        """Loss, weight and work of each state, the most uncertain first."""
        key = "".join(map(str, self.objective.space.params(plan).values()))
        if key not in self.known:
            network = compress(self.objective.denoiser, plan, self.objective.bank).network
            shares = self.objective.sinks.kept_shares(plan)
            states = self.objective.loss_function.by_state(network, shares)
            self.known[key] = [[s.loss, s.weight, s.work] for s in states]
            with self.path.open("a") as file:
                file.write(json.dumps({"plan": key, "states": self.known[key]}) + "\n")
        return self.known[key]


def recorded(objective: Objective, judged: Judged, order: Sequence[int] | None) -> Objective:
    """The objective with its losses looked up, states in some order."""

    def loss(self: Objective, plan: CompressionPlan) -> float:
        *_, last = self.by_state(plan)
        return last.so_far

    def by_state(self: Objective, plan: CompressionPlan) -> Iterator[StateLoss]:
        rows = judged(plan)
        total = weights = 0.0
        for index in order or range(len(rows)):
            loss, weight, work = rows[index]
            total, weights = total + loss * weight, weights + weight
            yield StateLoss(loss, weight, work, total / weights)

    return overridden(objective, loss=loss, by_state=by_state)


def run(objective: Objective, judged: Judged, arm: Arm, seed: int, work: float) -> dict[str, Any]:
    """One search: work after each trial, and what the finished ones have."""
    count = len(objective.loss_function.states)
    source = recorded(objective, judged, shuffled(count) if arm.shuffled else None)
    source = replace(source, early=arm.early)
    with tempfile.TemporaryDirectory() as folder:
        if arm.refined:
            storage = str(Path(folder) / "s.db")
            study = run_refined(source, trials=int(work), name="s", storage=storage, seed=seed)
            return {"trials": [row_of(source, trial) for trial in ended(study.optuna)]}
        trials = STEP
        while True:
            storage = str(Path(folder) / "s.db")
            study = run_study(source, trials=trials, name="s", storage=storage, seed=seed)
            rows = [row_of(source, trial) for trial in ended(study.optuna)]
            if sum(row["share"] for row in rows) >= work:
                return {"trials": rows}
            trials = len(rows) + STEP


def row_of(objective: Objective, trial: optuna.trial.FrozenTrial) -> dict[str, Any]:
    plan, stopped_at = objective.space.plan(trial.params), TrialRecord.of(trial).judged_share
    return {
        "share": 1.0 if stopped_at is None else stopped_at,
        "stopped": stopped_at is not None,
        "loss": objective.loss(plan),
        "ms": objective.latency(plan).generation_ms,
        "meets": objective.meets(plan),
    }


def make_objective() -> Objective:
    denoiser, device = load_denoiser("gsm-mini"), load_device(DEVICE)
    space = SearchSpace.of(denoiser, device, linear_groups=TOGETHER)
    workload = default_workload(denoiser)
    questions = TaskChoice().calibration_questions()
    return prepare(denoiser, space, device, workload, Goal(target_ratio=0.5), questions)


def read_runs(path: Path) -> dict[tuple[str, str, int], list[dict[str, Any]]]:
    """Finished runs by objective, arm and seed."""
    rows = map(json.loads, path.read_text().splitlines()) if path.exists() else ()
    return {(row["objective"], row["arm"], row["seed"]): row["trials"] for row in rows}


def best_within(trials: Sequence[dict[str, Any]], work: float, two: bool, of: Any) -> float:
    """Least loss within the target after so much work; with two objectives, share of hypervolume."""
    done = np.cumsum([row["share"] for row in trials]) <= work + 1e-9
    known = [r for r, counted in zip(trials, done, strict=True) if counted and not r["stopped"]]
    if not two:
        return min((r["loss"] for r in known if r["meets"]), default=float("nan"))
    reference, whole = of
    return hypervolume([(r["loss"], r["ms"]) for r in known], reference) / whole


def report(path: Path) -> None:
    """Tables of all finished runs."""
    runs = read_runs(path)
    for kind in ("loss", "front"):
        mine = {key[1:]: trials for key, trials in runs.items() if key[0] == kind}
        if not mine:
            continue
        two = kind == "front"
        points = [(max(r["loss"], 0.0), r["ms"]) for trials in mine.values() for r in trials]
        reference = corner(points)
        of = (reference, hypervolume(points, reference))
        print(f"objective {kind}: {'share of the hypervolume' if two else 'least loss'} after work")
        print(f"{'arm':20} seeds " + " ".join(f"{n:>10}" for n in CHECKPOINTS), end="")
        print("  trials  stopped  stopped that would have won")
        for arm in ARMS:
            seeds = {seed: trials for (name, seed), trials in mine.items() if name == arm}
            if not seeds:
                continue
            table = [[best_within(t, n, two, of) for n in CHECKPOINTS] for t in seeds.values()]
            each = " ".join(f"{v:10.6f}" for v in np.mean(table, axis=0))
            count = np.mean([len(t) for t in seeds.values()])
            stopped = np.mean([sum(r["stopped"] for r in t) for t in seeds.values()])
            wrong = [wrongly(t, two) for t in seeds.values()]
            print(f"{arm:20} {len(seeds):5} {each} {count:7.0f} {stopped:8.0f}  {wrong}")
            print(" " * 27 + "; ".join(" ".join(f"{v:.6f}" for v in row) for row in table))


def report_estimates(path: Path) -> None:
    """How far off whole losses are, estimated from a share of the work, each plan from the others."""
    rows = [json.loads(line)["states"] for line in path.read_text().splitlines()]
    table = np.array([states for states in rows if weighted(states) > 1e-6])
    count, work = table.shape[1], table[0, :, 2]
    for name, order in (("most uncertain first", range(count)), ("shuffled", shuffled(count))):
        shown = table[:, list(order)]
        peers = [Peer(i, r[:, 0], weighted(r), (), True) for i, r in enumerate(shown)]
        print(f"{name}: standard deviation of log(estimate / loss) over {len(peers)} plans")
        for share in (0.125, 0.25, 0.5, 0.75):
            most = int(np.searchsorted(np.cumsum(work[list(order)]) / work.sum(), share)) + 1
            errors = [error_of(shown[i, :most], peers, i) for i in range(len(peers))]
            known = [error for error in errors if error is not None]
            print(f"  after {share:.1%} of the work, {most} states: {np.std(known):.3f}")


def weighted(states: Any) -> float:
    """Whole loss of a plan."""
    loss, weight, _ = np.array(states).T
    return float(loss @ weight / weight.sum())


def error_of(states: np.ndarray, peers: Sequence[Peer], index: int) -> float | None:
    """Logarithm of the estimate from some states over the loss; None where none can be made."""
    loss, weight, work = states.T
    so_far = np.cumsum(loss * weight) / np.cumsum(weight)
    judged = [StateLoss(*row) for row in zip(loss, weight, work, so_far, strict=True)]
    found = estimate(judged, [peer for peer in peers if peer.number != index])
    return None if found is None else float(np.log(found.loss / peers[index].loss))


def wrongly(trials: Sequence[dict[str, Any]], two: bool) -> int:
    """Stopped trials that would have beaten everything finished before them."""
    count = 0
    for index, row in enumerate(trials):
        before = [r for r in trials[:index] if not r["stopped"]]
        beaten = any(
            r["loss"] <= row["loss"] and (r["ms"] <= row["ms"] if two else r["meets"])
            for r in before
        )
        count += row["stopped"] and (two or row["meets"]) and not beaten
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--objectives", default="loss,front")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--work", type=float, default=40, help="whole evaluations of each run")
    parser.add_argument("--minutes", type=float, default=14.0, help="begin no run after so long")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--report", action="store_true", help="only print what was found")
    args = parser.parse_args()
    path = args.results / "early-runs.jsonl"
    if not args.report:
        torch.set_num_threads(1)
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        args.results.mkdir(exist_ok=True)
        objective = make_objective()
        stop = time.monotonic() + 60 * args.minutes
        judged = Judged(objective, args.results / "early-states.jsonl")
        done = read_runs(path)
        jobs = [
            (kind, arm, seed)
            for seed in range(args.seeds)
            for kind in args.objectives.split(",")
            for arm in args.arms.split(",")
        ]
        for kind, arm, seed in (job for job in jobs if job not in done):
            if time.monotonic() > stop:
                print("out of time: run again to go on")
                break
            wanted = objective.with_goal(objective=ObjectiveKind(kind))
            found = run(wanted, judged, ARMS[arm], seed, args.work)
            with path.open("a") as file:
                row = {"objective": kind, "arm": arm, "seed": seed, **found}
                file.write(json.dumps(row) + "\n")
            print(kind, arm, seed, len(found["trials"]), f"{len(judged.known)} plans", flush=True)
    report(path)
    states = args.results / "early-states.jsonl"
    if states.exists():
        report_estimates(states)


if __name__ == "__main__":
    main()
