"""What a trial costs, against one in a process that keeps nothing from trial to trial.

    python studies/trial-speed/run.py [--trials 48] [--json]

A real study runs in a temporary SQLite file. After every few of its trials the same plan is scored once
more from nothing: load the checkpoint, calibrate the sinks, record the frozen states, quantise,
run them. Both must give the same loss. The two kinds of trial alternate within one run, so that
drift and neighbours hit both alike; ratios are of medians, with a bootstrap interval.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hwsearch.compression import compress
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.latency.devices.device import load_device
from hwsearch.plan import CompressionPlan
from hwsearch.sinks import calibrate_sinks
from hwsearch.study.choices.linear_groups import TOGETHER
from hwsearch.study.choices.search_space import SearchSpace
from hwsearch.study.goal import Goal
from hwsearch.study.objective import Objective
from hwsearch.study.preparation import SINK_QUESTIONS, default_workload, prepare
from hwsearch.study.run import run_study
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses.kl import FrozenStates

PARTS = ("load", "sinks", "record", "quantise", "loss")


@dataclass
class Stopwatch:
    """Seconds by name, one list entry a trial."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def of(self, name: str):
        began = time.perf_counter()
        yield
        self.seconds.setdefault(name, []).append(time.perf_counter() - began)

    def median(self, name: str) -> float:
        return float(np.median(self.seconds[name]))


class TimedLoss:
    """A loss whose evaluations are timed."""

    def __init__(self, inner: FrozenStates, watch: Stopwatch) -> None:
        self.inner, self.watch = inner, watch
        self.name, self.cost = inner.name, inner.cost
        self.last = float("nan")

    def loss(self, network, kept_shares) -> float:
        with self.watch.of("loss"):
            self.last = self.inner.loss(network, kept_shares)
        return self.last


def from_nothing(
    model: str, plan: CompressionPlan, questions: list[str], watch: Stopwatch
) -> float:
    """The loss of a plan, with everything made for it alone."""
    with watch.of("load"):
        denoiser = load_denoiser(model)
    with watch.of("sinks"):
        sinks = calibrate_sinks(denoiser, questions[:SINK_QUESTIONS])
    with watch.of("record"):
        states = FrozenStates.record(denoiser, questions)
    with watch.of("quantise"):
        network = compress(denoiser, plan).network
    with watch.of("loss"):
        return states.loss(network, sinks.kept_shares(plan))


def run(model: str, device: str, trials: int, every: int, seed: int) -> dict[str, Any]:
    """Alternate trials of a study with trials from nothing."""
    denoiser = load_denoiser(model)
    questions, ours, naive = TaskChoice().calibration_questions(), Stopwatch(), Stopwatch()
    objective = prepared(denoiser, load_device(device), questions)
    loss_function = TimedLoss(objective.loss_function, ours)
    objective = replace(objective, loss_function=loss_function)
    folder = Path(tempfile.mkdtemp())
    began = [time.perf_counter()]

    def after(finished: int) -> None:
        ours.seconds.setdefault("trial", []).append(time.perf_counter() - began[0])
        if finished % every == 0:
            plan = newest_plan(objective, folder)
            loss = from_nothing(model, plan, questions, naive)
            assert np.isclose(loss, loss_function.last, rtol=1e-4, atol=1e-9), (
                loss,
                loss_function.last,
            )
            print(f"trial {finished}: {ours.seconds['trial'][-1]:.2f} s", flush=True)
        began[0] = time.perf_counter()

    began[0] = time.perf_counter()
    run_study(
        objective,
        trials=trials,
        name="speed",
        storage=str(folder / "speed.db"),
        seed=seed,
        on_trial=after,
    )
    return summary(ours, naive, loss_function.inner)


def prepared(denoiser, device, questions: list[str]) -> Objective:
    space = SearchSpace.of(denoiser, device, linear_groups=TOGETHER)
    workload = default_workload(denoiser)
    return prepare(denoiser, space, device, workload, Goal(target_ratio=0.5), questions)


def newest_plan(objective: Objective, folder: Path) -> CompressionPlan:
    from hwsearch.study import load_study

    study = load_study("speed", str(folder / "speed.db")).optuna
    return objective.space.plan(study.trials[-1].params)


def summary(ours: Stopwatch, naive: Stopwatch, states: FrozenStates) -> dict[str, Any]:
    whole = np.sum([naive.seconds[name] for name in PARTS], axis=0)
    reload = np.sum([naive.seconds[name] for name in ("load", "quantise", "loss")], axis=0)
    calibrated = whole - np.array(naive.seconds["sinks"])
    trial = np.array(ours.seconds["trial"])
    activations = states.activations
    return {
        "trials": len(trial),
        "trial_s": float(np.median(trial)),
        "trials_per_second": float(1 / trial.mean()),
        "outside_the_loss_share": 1 - sum(ours.seconds["loss"]) / float(trial.sum()),
        "layers_found_share": activations.hits / (activations.hits + activations.misses),
        "from_nothing_s": {name: naive.median(name) for name in PARTS},
        "against_from_nothing": ratio(trial, whole),
        "against_from_nothing_but_sinks": ratio(trial, calibrated),
        "against_reload_and_requantise": ratio(trial, reload),
    }


def ratio(ours: np.ndarray, other: np.ndarray, draws: int = 2000) -> dict[str, float]:
    """Mean time of ours over that of the other, with a bootstrap 95 % interval."""
    rng = np.random.default_rng(0)
    means: Callable[[np.ndarray], np.ndarray] = lambda values: rng.choice(  # noqa: E731
        values, (draws, len(values))
    ).mean(axis=1)
    low, high = np.quantile(means(ours) / means(other), (0.025, 0.975))
    return {"ratio": float(ours.mean() / other.mean()), "low": float(low), "high": float(high)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gsm-mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--trials", type=int, default=48)
    parser.add_argument("--every", type=int, default=8, help="trials between two from nothing")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = run(options.model, options.device, options.trials, options.every, options.seed)
    print(json.dumps(found, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
