"""What stopping trials early saves on synthetic problems whose states are like gsm-mini's.

    python studies/search-efficiency/early_synthetic.py [--seeds 8] [--work 50] [--groups 12]

Problems are those of synthetic.py, with a loss that is spread over states. How much a state adds
varies by orders of magnitude, and is roughly known beforehand (the uncompressed model's entropy);
what each choice adds varies from state to state, and every plan has its own luck in every state.
The arms are those of early.py, which measures the same on the real model.
"""

from __future__ import annotations

import argparse
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import optuna
from early import ARMS, CHECKPOINTS, Arm, best_within, wrongly
from numpy.typing import NDArray
from race import Plan, Problem, corner, hypervolume
from synthetic import SHAPE, make_problem

from hwsearch.study.early_stopping import LEAST_PEERS, RunningTrial, estimate, peers_of
from hwsearch.study.records.study import ended
from hwsearch.study.records.trial_record import TrialRecord
from hwsearch.study.samplers.additive import AdditiveSampler
from hwsearch.tasks.losses.by_state import StateLoss, shuffled

STATES = 20
SPREAD = 2.0  # of the logarithm of what states add
KNOWN = 0.5  # of the logarithm of entropy over that
OWN = 0.6  # of the logarithm of a choice's effect in one state over its mean effect
LUCK = 0.1  # of the logarithm of a plan's loss in one state


@dataclass(frozen=True, eq=False)
class Stated:
    """A problem whose loss is spread over states.

    Attributes:
        problem: whose latency is kept.
        effects: loss of each choice in each state, [states, groups, formats].
        weights: of the states, [states].
        work: of the states, [states].
        order: of the states, most uncertain first.
    """

    problem: Problem
    effects: NDArray[np.float64]
    weights: NDArray[np.float64]
    work: NDArray[np.float64]
    order: list[int]

    def states(self, plan: Plan, order: Sequence[int]) -> Iterator[StateLoss]:
        """The loss of a plan, state by state."""
        rng = np.random.default_rng(zlib.crc32(bytes(plan)))
        own = self.effects[:, np.arange(len(plan)), plan].sum(axis=1)
        pairs = 1 + 0.3 * np.sin(np.outer(np.arange(1, STATES + 1), plan)).mean(axis=1)
        losses = own * pairs * rng.lognormal(0, LUCK, STATES)
        total = weights = 0.0
        for index in order:
            total += losses[index] * self.weights[index]
            weights += self.weights[index]
            yield StateLoss(losses[index], self.weights[index], self.work[index], total / weights)

    def loss(self, plan: Plan) -> float:
        """The whole loss."""
        *_, last = self.states(plan, range(STATES))
        return last.so_far


def make_stated(seed: int, groups: int) -> Stated:
    """A problem, redrawn with every seed."""
    rng = np.random.default_rng((seed, 7))
    size = rng.lognormal(0, 0.8, groups)
    adds = rng.lognormal(0, SPREAD, STATES)
    own = rng.lognormal(0, OWN, (STATES, groups, 1))
    effects = adds[:, None, None] * size[:, None] * SHAPE * own / 100
    work = rng.choice([1.0, 1.0, 1.0, 2.0, 4.0], STATES)
    weights = work * rng.uniform(0.5, 1.5, STATES)
    weights /= weights.sum()
    worth = adds * rng.lognormal(0, KNOWN, STATES) * weights / work
    problem = make_problem(seed, 0.0, groups)
    return Stated(problem, effects, weights, work, np.argsort(-worth).tolist())


def search(
    stated: Stated, arm: Arm, seed: int, work: float, two: bool
) -> tuple[list[dict[str, Any]], list[float]]:
    """One search: a row a trial as in early.py, and errors of estimates in their own spreads."""
    problem, whole = stated.problem, float(stated.work.sum())
    order = shuffled(STATES) if arm.shuffled else stated.order
    ms = [problem.evaluate(plan)[1] for plan in problem.uniform]
    target = 0.5 * (ms[0] + min(ms))
    errors: list[float] = []

    def plan_of(params: dict[str, Any]) -> Plan:
        return tuple(params[name] for name in problem.sizes)

    def objective(trial: optuna.Trial) -> list[float]:
        plan = tuple(trial.suggest_int(n, 0, k - 1) for n, k in problem.sizes.items())
        cost = problem.evaluate(plan)[1]
        if not two:
            trial.set_constraint("ms", cost - target)

        def values(loss: float) -> list[float]:
            return [loss, cost] if two else [loss]

        half = [s for s in stated.states(plan, order) if s.work][: STATES // 2]
        peers = peers_of(trial.study)
        if len(peers) > 2 * LEAST_PEERS and (found := estimate(half, peers)):
            errors.append(found.loss / stated.loss(plan) - 1)
        candidate = RunningTrial(
            stated.states(plan, order), two or cost <= target, values, len(set(plan)) == 1
        )
        return values(arm.early.judge(trial, candidate, whole))

    space = {n: optuna.distributions.IntDistribution(0, k - 1) for n, k in problem.sizes.items()}
    first = sum(terms[0] for terms in problem.costs.values())
    budget = None if two else target - problem.evaluate(problem.uniform[0])[1] + first
    sampler = AdditiveSampler(problem.costs, budget, "ms", seed, search_space=space)
    study = optuna.create_study(directions=["minimize"] * (1 + two), sampler=sampler)
    for plan in problem.uniform:
        study.enqueue_trial(dict(zip(problem.sizes, plan, strict=True)))
    rows: list[dict[str, Any]] = []
    while sum(row["share"] for row in rows) < work:
        study.optimize(objective, n_trials=1)
        trial = ended(study)[-1]
        plan = plan_of(trial.params)
        cost = problem.evaluate(plan)[1]
        stopped_at = TrialRecord.of(trial).judged_share
        share = 1.0 if stopped_at is None else stopped_at
        row = {"share": share, "stopped": stopped_at is not None, "loss": stated.loss(plan)}
        rows.append({**row, "ms": cost, "meets": two or cost <= target})
    return rows, errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arms = [name for name, arm in ARMS.items() if not arm.refined]
    parser.add_argument("--arms", default=",".join(arms))
    parser.add_argument("--objectives", default="loss,front")
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("--work", type=float, default=50)
    parser.add_argument("--groups", type=int, default=12)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    for kind in args.objectives.split(","):
        two = kind == "front"
        found = {
            arm: [
                search(make_stated(seed, args.groups), ARMS[arm], seed, args.work, two)
                for seed in range(args.seeds)
            ]
            for arm in args.arms.split(",")
        }
        print(f"objective {kind}: {'share of hypervolume' if two else 'loss over the best found'}")
        for arm, runs in found.items():
            table = [
                scores([found[name][seed][0] for name in found], rows, two)
                for seed, (rows, _) in enumerate(runs)
            ]
            mean = " ".join(f"{v:8.4f}" for v in np.mean(table, axis=0))
            trials = np.mean([len(rows) for rows, _ in runs])
            stopped = np.mean([sum(r["stopped"] for r in rows) for rows, _ in runs])
            wrong = sum(wrongly(rows, two) for rows, _ in runs)
            error = np.std(np.concatenate([errors for _, errors in runs]))
            print(
                f"{arm:20} {mean}  trials {trials:5.0f} stopped {stopped:5.0f} wrongly {wrong:4} "
                f"error at half the states {error:.3f}",
                flush=True,
            )


def scores(
    everyone: Sequence[Sequence[dict[str, Any]]], rows: Sequence[dict[str, Any]], two: bool
) -> list[float]:
    """What one run had at each checkpoint, against the best of all runs of its problem."""
    points = [(r["loss"], r["ms"]) for trials in everyone for r in trials]
    if two:
        reference = corner(points)
        of = (reference, hypervolume(points, reference))
        return [best_within(rows, work, True, of) for work in CHECKPOINTS]
    best = min(r["loss"] for trials in everyone for r in trials if r["meets"])
    return [best_within(rows, work, False, None) / best for work in CHECKPOINTS]


if __name__ == "__main__":
    main()
