"""Pruning alone, quantisation alone, one after the other, or both at once: what each gets of gsm-mini.

    python studies/joint/run.py search [--trials 150] [--seeds 3]     # an hour; goes on where it was
    python studies/joint/run.py report
    python studies/joint/run.py measure                             # exports and times; wants a quiet machine
    python studies/joint/run.py search --device jetson-orin-nano-super-25w --decodings fixed
    python studies/joint/energy.py                                  # what that costs in joules, by power mode

Pruning chooses sink thresholds, heads and channels of each layer; quantisation chooses formats. Every arm
has as many trials, all judged on the same states. An arm of two steps spends half of them on the first,
takes five plans that together cover the front found so far, and shares the rest among them: there the
first lever stays as it is. Decoding is either fixed, as the model's makers decode, or free.

`search` writes trials.csv.gz, a row a trial; trials-DEVICE.csv.gz for another device than `cpu`. `report`
prints, for each arm, the hypervolume of its front below a KL of `WORST` and the uncompressed model's time,
and the least predicted time within some losses: mean of the seeds, and the least and largest. `measure` takes
seed 0's fastest plans within these losses, times their bundles side by side, and writes measured.csv.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "search-efficiency"))

from race import hypervolume

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.jobs.finishing import Finisher
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.devices.environment import this_machine
from hwsearch.plan import CompressionPlan
from hwsearch.study import Goal, Objective, ObjectiveKind, SearchSpace, prepare
from hwsearch.study.preparation import default_workload
from hwsearch.study.run import expected_losses, run_study
from hwsearch.study.samplers.additive import AdditiveSampler
from hwsearch.study.settings.values import RunSettings
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses.kl import FrozenStates

HERE = Path(__file__).parent
#: Questions, fewer where each plan answers them itself; plans that the second lever begins from.
QUESTIONS, ANSWERED, PICKED = 48, 16, 5
WORST, LOSSES = 0.02, (0.0005, 0.002, 0.01)
PRUNING, FORMATS = (
    ("sink_threshold", "kept_heads", "kept_channels"),
    ("attention", "gate_up", "down", "head"),
)
ARMS = ("prune", "quantise", "prune, then quantise", "quantise, then prune", "both at once")
Point = tuple[float, float]


@dataclass(frozen=True)
class Tried:
    """A trial: its plan, its loss in nats and its predicted milliseconds."""

    plan: CompressionPlan
    loss: float
    ms: float


@dataclass(frozen=True)
class Subject:
    """All arms of one way to decode.

    Attributes:
        both: chooses everything.
    """

    both: Objective

    @classmethod
    def make(cls, free: bool, device_name: str = "cpu") -> Subject:
        """With decoding free, or as the makers decode."""
        denoiser, device = load_denoiser("gsm-mini"), load_device(device_name)
        g, asked = (
            denoiser.geometry,
            TaskChoice().calibration_questions(ANSWERED if free else QUESTIONS),
        )
        space = SearchSpace.of(
            denoiser,
            device,
            kept_heads=(None, g.heads_of(0.8), g.heads_of(0.6)),
            kept_channels=(None, g.channels_of(0.75), g.channels_of(0.5)),
            **({} if free else {"decodings": (None,)}),
        )
        goal, loss = Goal(objective=ObjectiveKind.FRONT), FrozenStates.record(denoiser, asked)
        workload = default_workload(denoiser)
        return cls(prepare(denoiser, space, device, workload, goal, asked, loss))

    def only(self, fields: tuple[str, ...]) -> Objective:
        """One lever alone."""
        space = self.both.space
        if fields == FORMATS:
            changes = {"thresholds": (1.0,), "kept_heads": (None,), "kept_channels": (None,)}
        else:
            changes = {"formats": space.formats[:1]}
        return replace(self.both, space=space.model_copy(update=changes))

    @cached_property
    def prior(self) -> Mapping[str, Mapping[int, float]]:
        """Losses that choices are expected to cost."""
        found = expected_losses(self.both, RunSettings(), None)
        assert found is not None
        return found.prior(self.both.space)

    def searched(self, objective: Objective, trials: int, seed: int) -> list[Tried]:
        """A search for a front, as `hwsearch search` makes it."""
        with tempfile.TemporaryDirectory() as folder:
            study = run_study(
                objective, trials=trials, name="s", storage=f"{folder}/s.db", seed=seed
            )
            done = [t for t in study.optuna.get_trials() if t.values is not None]
            return [Tried(objective.space.plan(t.params), *t.values) for t in done]

    def continued(
        self, start: Tried, fields: tuple[str, ...], trials: int, seed: int
    ) -> list[Tried]:
        """A search that leaves all of a plan as it is but some fields."""
        space, fixed = self.both.space, self.both.space.params(start.plan)
        free = {
            name: len(choices)
            for name, choices in space.parameters().items()
            if name.rpartition(".")[2] in fields and len(choices) > 1
        }

        def ms(**chosen: int) -> float:
            return self.both.latency(space.plan({**fixed, **chosen})).generation_ms

        # exact for formats; thresholds of layers with fewer heads are priced beside the heads of `start`
        costs = {n: {c: ms(**{n: c}) - start.ms for c in range(size)} for n, size in free.items()}
        study = optuna.create_study(
            directions=["minimize"] * 2,
            sampler=AdditiveSampler(
                costs,
                seed=seed,
                kinds={name: kind for name, kind in space.kinds().items() if name in free},
                prior={name: losses for name, losses in self.prior.items() if name in free},
            ),
        )
        found = [start]

        def evaluate(trial: optuna.Trial) -> Point:
            chosen = {name: trial.suggest_int(name, 0, size - 1) for name, size in free.items()}
            plan = space.plan({**fixed, **chosen})
            latency = self.both.latency(plan).generation_ms
            trial.set_user_attr("generation_ms", latency)
            found.append(Tried(plan, self.both.loss(plan), latency))
            return found[-1].loss, latency

        study.optimize(evaluate, n_trials=trials)
        return found[1:]

    def run(
        self, arm: str, trials: int, seed: int, known: Mapping[str, list[Tried]]
    ) -> list[Tried]:
        """All trials of an arm; `known` are those of arms before it."""
        if arm == "both at once":
            return self.searched(self.both, trials, seed)
        if arm in ("prune", "quantise"):
            return self.searched(self.only(PRUNING if arm == "prune" else FORMATS), trials, seed)
        first, then = ("prune", FORMATS) if arm.startswith("prune") else ("quantise", PRUNING)
        begun = known[first][: trials // 2]
        starts = covering(begun, self.both.latency(begun[0].plan).generation_ms)
        each = (trials - len(begun)) // len(starts)
        return [
            *begun,
            *(found for start in starts for found in self.continued(start, then, each, seed)),
        ]


def covering(trials: list[Tried], most_ms: float) -> list[Tried]:
    """The plans that together have the largest hypervolume, the best first."""
    chosen: list[Tried] = []
    for _ in range(PICKED):
        best = max(trials, key=lambda one: volume([*chosen, one], most_ms))
        if best not in chosen:
            chosen.append(best)
    return chosen


def volume(trials: list[Tried], most_ms: float) -> float:
    """Hypervolume as a share of the rectangle below the uncompressed model's time."""
    points = [(one.loss, one.ms) for one in trials if one.loss < WORST]
    return hypervolume(points, (WORST, most_ms)) / (WORST * most_ms)


def table_of(out: Path, device: str) -> Path:
    """Where a device's trials are."""
    return out / ("trials.csv.gz" if device == "cpu" else f"trials-{device}.csv.gz")


def search(path: Path, device: str, trials: int, seeds: int, decodings: list[str]) -> None:
    """Run what a table of trials lacks."""
    for decoding in decodings:
        subject: Subject | None = None
        for seed in range(seeds):
            known: dict[str, list[Tried]] = {}
            for arm in ARMS:
                done = read(path, decoding, arm, seed)
                if len(done) == 0:
                    subject = subject or Subject.make(decoding == "free", device)
                    done = subject.run(arm, trials, seed, known)
                    write(path, decoding, arm, seed, done)
                    print(f"{decoding}, seed {seed}, {arm}: {len(done)} trials", flush=True)
                known[arm] = done


def write(path: Path, decoding: str, arm: str, seed: int, trials: list[Tried]) -> None:
    """Add an arm's trials."""
    rows = [
        {
            "decoding": decoding,
            "arm": arm,
            "seed": seed,
            "trial": number,
            "loss": one.loss,
            "ms": one.ms,
            "plan": json.dumps(one.plan.model_dump(mode="json"), separators=(",", ":")),
        }
        for number, one in enumerate(trials)
    ]
    pd.DataFrame(rows).to_csv(
        path, mode="a", header=not path.exists(), index=False, float_format="%.6g"
    )


def read(path: Path, decoding: str, arm: str, seed: int) -> list[Tried]:
    """An arm's trials, as they were written."""
    if not path.exists():
        return []
    table = pd.read_csv(path)
    rows = table[(table["decoding"] == decoding) & (table["arm"] == arm) & (table["seed"] == seed)]
    return [
        Tried(CompressionPlan.validate(json.loads(row.plan)), row.loss, row.ms)
        for row in rows.itertuples()
    ]


def report(path: Path) -> pd.DataFrame:
    """A row an arm and decoding."""
    table = pd.read_csv(path)
    rows: list[dict[str, Any]] = []
    for (decoding, arm), part in table.groupby(["decoding", "arm"], sort=False):
        found: dict[str, list[float]] = {}
        for seed, trials in part.groupby("seed"):
            tried = read(path, str(decoding), str(arm), int(seed))
            # the first trial is the uncompressed model
            found.setdefault("hypervolume", []).append(volume(tried, tried[0].ms))
            for loss in LOSSES:
                within = trials.loc[trials["loss"] <= loss, "ms"]
                found.setdefault(f"ms within {loss:g}", []).append(float(within.min()))
        row: dict[str, Any] = {"decoding": decoding, "arm": arm}
        rows.append(row | {name: spread(values) for name, values in found.items()})
    return pd.DataFrame(rows)


def spread(values: list[float]) -> str:
    """Mean, least and largest."""
    return f"{np.mean(values):.4g} ({min(values):.4g} to {max(values):.4g})"


def measure(out: Path) -> None:
    """Time the fastest plans within each loss of seed 0, side by side."""
    path = table_of(out, "cpu")
    finisher = Finisher(Subject.make(free=True).both, threads=1)
    plans: dict[tuple[str, str, float], CompressionPlan] = {}
    for decoding in ("fixed", "free"):
        for arm in ARMS:
            for loss in LOSSES:
                good = [t for t in read(path, decoding, arm, 0) if t.loss <= loss]
                if good:
                    plans[decoding, arm, loss] = min(good, key=lambda one: one.ms).plan
    different = {plan.model_dump_json(): plan for plan in plans.values()}
    with tempfile.TemporaryDirectory() as folder:
        bundles = {
            text: finisher.export(plan, Path(folder) / str(index), questions=0)
            for index, (text, plan) in enumerate(different.items())
        }
        times = finisher.measure(bundles)
    rows = [
        {
            "decoding": decoding,
            "arm": arm,
            "within": loss,
            "predicted_ms": finisher.objective.latency(plan).generation_ms,
            "measured_ms": times.generation_ms(plan.model_dump_json()),
        }
        for (decoding, arm, loss), plan in plans.items()
    ]
    table = pd.DataFrame(rows)
    table.to_csv(out / "measured.csv", index=False, float_format="%.4g")
    print(this_machine())
    print(table.to_string(index=False))


def main() -> None:
    """Search, report or measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("search", "report", "measure"))
    parser.add_argument("--trials", type=int, default=150)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--decodings", nargs="+", default=["fixed", "free"])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, default=HERE)
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    path = table_of(options.out, options.device)
    if options.stage == "search":
        print(this_machine())
        search(path, options.device, options.trials, options.seeds, options.decodings)
    elif options.stage == "report":
        print(report(path).to_string(index=False))
    else:
        measure(options.out)


if __name__ == "__main__":
    main()
