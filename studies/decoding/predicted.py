"""Random plans with decodings mixed in: predicted against measured milliseconds and passes.

    python studies/decoding/predicted.py [--plans 30] [--problems 48] [--tables FOLDER] [-o FOLDER]

Passes are predicted by answering gsm-mini's calibration questions in torch, times from a table of this
machine (timed now, unless FOLDER holds one). Measured are exported bundles in onnxruntime on one thread,
side by side, on validation problems, which no prediction has seen. Prints machine and instruction set,
the mean absolute error of milliseconds and of passes, and Spearman's rank correlation; writes
`predicted.csv` where a folder is given.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from hwsearch.bundle.exporter import exporter_of
from hwsearch.decoding.answer import end_token_ids
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.jobs.profiling.onnxruntime import profile_machine
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.devices.environment import this_machine
from hwsearch.latency.timing.answers import Answerer, AnswerTimes, time_answers
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.engine import Runtime
from hwsearch.runtime.providers import CPU, Provider, exporting_for
from hwsearch.study import Goal, Objective, SearchSpace, prepare
from hwsearch.study.choices.linear_groups import TOGETHER
from hwsearch.study.preparation import default_workload
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.gsm_mini.generator import problems


def main() -> None:
    """Draw plans, predict, export and time them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--plans", type=int, default=30)
    parser.add_argument("--problems", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    print(this_machine())
    denoiser = load_denoiser("gsm-mini")
    with tempfile.TemporaryDirectory() as folder:
        objective = objective_of(denoiser, options.tables or Path(folder) / "tables")
        plans = drawn(objective.space, options.plans, options.seed)
        runtimes = [
            exported(objective, plan, Path(folder) / str(i)) for i, plan in enumerate(plans)
        ]
        asked = [p.question for p in islice(problems("validation"), options.problems)]
        found = timed(runtimes, asked, options.rounds)
    table = pd.DataFrame(
        row(objective, plan, found, str(index)) for index, plan in enumerate(plans)
    )
    print(table.to_string(index=False, float_format="{:.3f}".format))
    print(summary(table))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.out / "predicted.csv", index=False, float_format="%.4f")


def objective_of(
    denoiser: Denoiser, tables: Path, provider: Provider = CPU, questions: int | None = None
) -> Objective:
    """A search on this machine under a runtime, which is timed unless `tables` holds it."""
    name = "this-machine" if provider is CPU else provider.name
    if (tables / name / "device.toml").is_file():
        device = load_device(tables / name)
    else:
        device = profile_machine(denoiser, name, tables, provider=provider)
    space = SearchSpace.of(denoiser, device, linear_groups=TOGETHER)
    goal = Goal(target_ratio=1.0)
    return prepare(
        denoiser,
        space,
        device,
        default_workload(denoiser),
        goal,
        TaskChoice().calibration_questions(questions),
    )


def drawn(space: SearchSpace, count: int, seed: int) -> list[CompressionPlan]:
    """Random plans, every decoding equally often."""
    rng, plans = random.Random(seed), []
    for index in range(count):
        params = {name: rng.randrange(len(values)) for name, values in space.parameters().items()}
        plans.append(space.plan(params | {"decoding": index % len(space.decodings)}))
    return plans


def exported(objective: Objective, plan: CompressionPlan, folder: Path) -> Runtime:
    """The bundle of a plan, open on one thread; one that is there is taken as it is."""
    if folder.is_dir():
        return Runtime(folder, threads=1)
    workbench = objective.workbench
    bundle = exporter_of(objective.denoiser).export(
        workbench.compress(plan),
        workbench.keep(plan).kept,
        folder,
        provider=exporting_for(objective.predictor.device.info.runtime),
    )
    return Runtime(bundle, threads=1)


def timed(
    runtimes: list[Runtime],
    asked: list[str],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> AnswerTimes:
    """All bundles on the same problems, interleaved."""
    models = {}
    for index, runtime in enumerate(runtimes):
        manifest = runtime.bundle.manifest
        ends = frozenset(end_token_ids(manifest))
        models[str(index)] = Answerer(runtime.generation, manifest.decoding, ends)
    return time_answers(
        models, [runtimes[0].prompt(text) for text in asked], rounds=rounds, clock=clock
    )


def row(
    objective: Objective, plan: CompressionPlan, found: AnswerTimes, name: str
) -> dict[str, Any]:
    """A plan, predicted and measured."""
    latency = objective.latency(plan)
    return {
        "decoding": (plan.decoding or objective.denoiser.decoding).words,
        "predicted_passes": sum(latency.passes.values()),
        "measured_passes": found.passes[name].total,
        "predicted_ms": latency.generation_ms,
        "measured_ms": found.generation_ms(name),
        "own_passes_ms": objective.predictor.given(found.passes[name])
        .predict(objective.workbench.keep(plan))
        .generation_ms,
    }


def summary(table: pd.DataFrame) -> str:
    """Errors and rank correlation; also of milliseconds predicted from the passes that were timed."""

    def error(predicted: str, measured: str) -> np.ndarray:
        return np.asarray(table[predicted] / table[measured] - 1.0)

    ms, own = error("predicted_ms", "measured_ms"), error("own_passes_ms", "measured_ms")
    passes = error("predicted_passes", "measured_passes")
    rank = spearmanr(table["predicted_ms"], table["measured_ms"]).statistic
    shares = ""
    if "measured_share" in table:
        share = error("predicted_share", "measured_share")
        shares = f"; shares of the uncompressed model MAPE {np.abs(share).mean():.2%}"
    return (
        f"{len(table)} plans: milliseconds MAPE {np.abs(ms).mean():.2%} (mean {ms.mean():+.2%}), "
        f"Spearman {rank:.4f}; passes MAPE {np.abs(passes).mean():.2%}, worst {np.abs(passes).max():.2%}; "
        f"milliseconds by the passes that were timed MAPE {np.abs(own).mean():.2%}, "
        f"mean {own.mean():+.2%}{shares}"
    )


if __name__ == "__main__":
    main()
