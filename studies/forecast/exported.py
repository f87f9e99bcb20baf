"""Bundles of gsm-mini that foresee passes: the same text as torch, and milliseconds as predicted.

    python studies/forecast/exported.py [--problems 500] [--timed 48] [--tables FOLDER] [--bundles FOLDER]

Plans in two formats, with and without `advance`, each with and without a forecast, are exported and answer
validation problems in onnxruntime on one thread; torch answers the same. Then a part of the problems is
timed side by side, interleaved, and held against what is predicted from a table of this machine (timed
now, unless FOLDER holds one). `--problems 0` times alone. Writes exported.csv. Bundles of an earlier run
are used again from --bundles FOLDER, and what was said of their texts is not asked again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from itertools import islice, product
from pathlib import Path
from typing import Any

import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "decoding"))

from predicted import exported, row, timed

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.jobs.profiling.onnxruntime import profile_machine
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.devices.environment import this_machine
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.engine import Runtime
from hwsearch.study import Goal, Objective, SearchSpace, prepare
from hwsearch.study.preparation import default_workload
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.gsm_mini.generator import problems
from hwsearch.tasks.losses.pricing import DecodedProblems

HERE = Path(__file__).parent

POLICY: dict[str, Any] = {"commit": {"policy": "threshold"}, "stop_at_end": True}
ADVANCE: dict[str, Any] = {"window": {"advance": True}}
FORECAST: dict[str, Any] = {"forecast": {"method": "low-rank"}}
FORMATS = ("fp32", "w8a8")


def objective_of(tables: Path) -> Objective:
    """A search over the decodings on this machine."""
    denoiser, task = load_denoiser("gsm-mini"), TaskChoice()
    if (tables / "this-machine" / "device.toml").is_file():
        device = load_device(tables / "this-machine")
    else:
        device = profile_machine(denoiser, "this-machine", tables)
    decodings = [
        denoiser.decoding.changed(POLICY | advance | forecast)
        for advance, forecast in product(({}, ADVANCE), ({}, FORECAST))
    ]
    return prepare(
        denoiser,
        SearchSpace.of(denoiser, device, decodings=(None, *decodings)),
        device,
        default_workload(denoiser),
        Goal(target_ratio=1.0),
        task.calibration_questions(),
        fitter=task.fitter(denoiser),
    )


def same_texts(objective: Objective, plan: CompressionPlan, runtime: Runtime, count: int) -> float:
    """Share of problems for which a bundle writes what torch writes, token for token."""
    asked = DecodedProblems(objective.denoiser, list(islice(problems("validation"), count)))
    torch_wrote = asked.decoded(*objective.workbench.network(plan), plan.decoding)
    same = [
        runtime.generate_tokens(prompt) == problem.generated.tolist()
        for prompt, problem in zip(asked.prompts, torch_wrote.problems, strict=True)
    ]
    return sum(same) / count


def told_of_texts(
    objective: Objective, plan: CompressionPlan, runtime: Runtime, count: int
) -> dict[str, Any]:
    """`same_texts` of so many problems, which is kept beside the bundle; nothing of none."""
    if not count:
        return {}
    kept = runtime.bundle.path.with_suffix(".json")
    if not kept.is_file():
        found = {"problems": count, "same_text": same_texts(objective, plan, runtime, count)}
        kept.write_text(json.dumps(found), encoding="utf-8")
    found = json.loads(kept.read_text(encoding="utf-8"))
    return dict(found)


def main() -> None:
    """Export, compare, time, and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--timed", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tables", type=Path)
    parser.add_argument("--bundles", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=HERE)
    options = parser.parse_args()
    print(this_machine())
    with tempfile.TemporaryDirectory() as folder:
        objective = objective_of(options.tables or Path(folder) / "tables")
        layers, decodings = objective.denoiser.num_layers, objective.space.decodings[1:]
        plans = [
            CompressionPlan.uniform(layers, fmt, fmt, head=fmt).model_copy(
                update={"decoding": decoding}
            )
            for fmt, decoding in product(FORMATS, decodings)
        ]
        bundles = options.bundles or Path(folder) / "bundles"
        runtimes = [exported(objective, p, bundles / str(i)) for i, p in enumerate(plans)]
        asked = [p.question for p in islice(problems("validation"), options.timed)]
        found = timed(runtimes, asked, options.rounds)
        rows = []
        for index, (plan, runtime) in enumerate(zip(plans, runtimes, strict=True)):
            told = {"format": plan.head.value} | row(objective, plan, found, str(index))
            rows.append(told | told_of_texts(objective, plan, runtime, options.problems))
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    error = (table["predicted_ms"] / table["measured_ms"] - 1.0).abs()
    own = (table["own_passes_ms"] / table["measured_ms"] - 1.0).abs()
    print(f"milliseconds MAPE {error.mean():.2%}, by the passes that were timed {own.mean():.2%}")
    options.out.mkdir(parents=True, exist_ok=True)
    table.to_csv(options.out / "exported.csv", index=False, float_format="%.4f")


if __name__ == "__main__":
    main()
