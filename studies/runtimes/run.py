"""One processor under several runtimes: how well each is predicted, and what plans each is best served by.

    python studies/runtimes/run.py measure                                   # onnxruntime's own provider
    make test-openvino                                                       # makes .venv-openvino
    .venv-openvino/bin/python studies/runtimes/run.py measure --runtime onnxruntime-openvino
    make test-web                                                            # fills .venv-node
    export HWSEARCH_NODE_MODULES=.venv-node/node_modules
    python studies/runtimes/run.py measure --runtime onnxruntime-web
    python studies/runtimes/run.py search [--runtime onnxruntime-openvino]   # in either environment
    python studies/runtimes/run.py report

`export` writes the bundles that `measure` times into --bundles FOLDER, which needs no quiet machine.
`measure` wants a quiet machine. It times gsm-mini's operators (unless FOLDER/tables holds them), draws random
plans with decodings mixed in, predicts them, exports them for the runtime and times them side by side on
problems that no prediction has seen: RUNTIME.csv. A shared machine is faster at one hour than at another:
time a table and its plans in one run. Bundles of an earlier run are used again from --bundles FOLDER. Of
onnxruntime-web a kit makes the table, and Node answers the problems (`web.py`); what it writes is held
against onnxruntime's own provider. `search` looks for a front of loss and time: the fastest plan that
loses at most `LOSS`, and the uniform plans, go to RUNTIME.json.

`report` prints the errors, then every plan found under every runtime: predicted milliseconds, and how much
more than that runtime's own plan. Prices are those of the committed tables, so it times nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import optuna
import pandas as pd

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "decoding"))

import web
from predicted import drawn, exported, objective_of, row, summary, timed

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.latency.devices.environment import this_machine
from hwsearch.latency.timing.answers import AnswerTimes
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.providers import CPU, WEB, provider_of
from hwsearch.study import Goal, Objective, ObjectiveKind
from hwsearch.study.run import run_study
from hwsearch.tasks.gsm_mini.generator import problems

HERE = Path(__file__).parent
#: What the fastest plan of a front may lose, in nats.
LOSS = 0.002
#: Calibration questions, which every plan answers.
QUESTIONS = 32


def measure(
    out: Path,
    tables: Path,
    runtime: str,
    count: int,
    bundles: Path,
    seed: int = 0,
    clock: Callable[[], float] = time.perf_counter,
) -> None:
    """Predict and time under one runtime."""
    print(this_machine(), runtime)
    if runtime == WEB.name:
        web.time_device(tables)
    objective = objective_of(load_denoiser("gsm-mini"), tables, provider_of(runtime), QUESTIONS)
    whole = objective.predictor.device.uncompressed(objective.space.num_layers)
    plans = [whole, *drawn(objective.space, count, seed=seed)]
    asked = [p.question for p in islice(problems("validation"), 48)]
    if runtime == WEB.name:
        found, more = measured_in_node(objective, plans, asked, bundles)
    else:
        engines = [exported(objective, plan, bundles / str(i)) for i, plan in enumerate(plans)]
        found, more = timed(engines, asked, 3, clock), [{} for _ in plans]
    table = beside_whole(
        pd.DataFrame(
            row(objective, plan, found, str(index)) | more[index]
            for index, plan in enumerate(plans)
        )
    )
    table.to_csv(out / f"{runtime}.csv", index=False, float_format="%.4f")
    print(summary(table))


def beside_whole(table: pd.DataFrame) -> pd.DataFrame:
    """All rows but the first, the uncompressed model's; their times also as shares of it.

    A shared machine is faster at one hour than at another. Shares are of one run.
    """
    for name in ("predicted", "own_passes", "measured"):
        table[f"{name}_share"] = table[f"{name}_ms"] / table[f"{name}_ms"].iloc[0]
    return table.iloc[1:]


def export(tables: Path, runtime: str, count: int, bundles: Path, seed: int = 0) -> None:
    """Write the bundles of the plans that are timed under a runtime."""
    objective = objective_of(load_denoiser("gsm-mini"), tables, provider_of(runtime), QUESTIONS)
    for index, plan in enumerate(drawn(objective.space, count, seed=seed)):
        exported(objective, plan, bundles / str(index))


def measured_in_node(
    objective: Objective, plans: list[CompressionPlan], asked: list[str], folder: Path
) -> tuple[AnswerTimes, list[dict[str, Any]]]:
    """Times in Node, and of how many answers Python's onnxruntime writes the same."""
    bundles = [web.exported(objective, plan, folder / str(i)) for i, plan in enumerate(plans)]
    with tempfile.TemporaryDirectory() as temporary:
        scripts = web.runner(Path(temporary) / "web")
        found = web.answered(scripts, bundles, asked, rounds=1)
        more = []
        for index, (bundle, one) in enumerate(zip(bundles, found, strict=True)):
            tokens, answers = web.same_tokens(bundle, one, asked, Path(temporary) / str(index))
            share = tokens / (len(asked) * bundle.manifest.decoding.gen_length)
            more.append({"same_tokens": share, "same_answers": answers})
    return web.times(bundles, found), more


def search(out: Path, runtime: str, trials: int) -> None:
    """Search under one runtime."""
    objective = objective_of(
        load_denoiser("gsm-mini"), out / "tables", provider_of(runtime), QUESTIONS
    )
    document = searched(objective, trials) | {"machine": this_machine()}
    (out / f"{runtime}.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def searched(objective: Objective, trials: int) -> dict[str, Any]:
    """The plan that a search finds, and what uniform plans cost and lose."""
    device = objective.predictor.device
    whole = objective.latency(device.uncompressed(objective.space.num_layers)).generation_ms
    goal = Goal(objective=ObjectiveKind.FRONT).on_device(device, whole)
    with tempfile.TemporaryDirectory() as folder:
        study = run_study(
            replace(objective, goal=goal), trials=trials, name="s", storage=f"{folder}/s.db"
        )
        found = study.frame()
        best = found[found["loss"] <= LOSS].sort_values("generation_ms").iloc[0]
    formats = [fmt.value for fmt in objective.space.formats]
    uniform = {
        fmt: objective.latency(
            CompressionPlan.uniform(objective.space.num_layers, fmt, fmt, head=fmt)
        ).generation_ms
        for fmt in formats
    }
    return {
        "uncompressed_ms": whole,
        "uniform_ms": uniform,
        "loss": float(best["loss"]),
        "ms": float(best["generation_ms"]),
        "plan": study.plan(int(best["number"])).model_dump(mode="json"),
    }


def report(out: Path) -> None:
    """Errors, formats and the cross table."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*.json")}
    denoiser = load_denoiser("gsm-mini")
    own = {name: CompressionPlan.validate(one["plan"]) for name, one in found.items()}
    for name in sorted(found):
        print(f"{name}: {summary(pd.read_csv(out / f'{name}.csv'))}")
    rows = [
        {"runtime": name, "uncompressed": one["uncompressed_ms"]}
        | {fmt: ms / one["uncompressed_ms"] for fmt, ms in one["uniform_ms"].items()}
        for name, one in sorted(found.items())
    ]
    print(pd.DataFrame(rows).to_string(index=False, float_format="{:.3f}".format))
    objectives = {
        name: objective_of(denoiser, out / "tables", provider_of(name), QUESTIONS) for name in found
    }
    cross = [
        {"plan of": theirs, "loss": found[theirs]["loss"]}
        | {
            name: f"{(ms := objective.latency(own[theirs]).generation_ms):.2f} ms "
            f"({ms / found[name]['ms'] - 1:+.1%})"
            for name, objective in objectives.items()
        }
        for theirs in sorted(found)
    ]
    print(pd.DataFrame(cross).to_string(index=False))


def main() -> None:
    """Measure or report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=("export", "measure", "search", "report"))
    parser.add_argument("--runtime", default=CPU.name)
    parser.add_argument("--plans", type=int, default=12)
    parser.add_argument("--seed", type=int, default=0, help="of the plans that are drawn")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--processor-time", action="store_true", help="beside others' work")
    parser.add_argument("--tables", type=Path, help="of devices; OUT/tables unless it is given")
    parser.add_argument("--bundles", type=Path)
    options = parser.parse_args()
    tables = options.tables or options.out / "tables"
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if options.stage == "export":
        export(tables, options.runtime, options.plans, options.bundles, options.seed)
    elif options.stage == "measure":
        with tempfile.TemporaryDirectory() as folder:
            bundles = options.bundles or Path(folder)
            options.out.mkdir(parents=True, exist_ok=True)
            clock = time.process_time if options.processor_time else time.perf_counter
            parts = options.runtime, options.plans, bundles, options.seed, clock
            measure(options.out, tables, *parts)
    elif options.stage == "search":
        search(options.out, options.runtime, options.trials)
    else:
        report(options.out)


if __name__ == "__main__":
    main()
