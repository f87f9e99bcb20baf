"""How far a predicted time is from a measured one, on plans that the calibration did not see.

    python studies/latency-accuracy/run.py [--plans 30] [--rounds 12] [--sessions 3] [--seed 2028]

Operators, calibration plans and the drawn plans are timed side by side in the same interleaved rounds. A
session that is finished is kept in OUT/samples.csv; a run that was cut off goes on with the next.
Predictions use the operators and the calibration plans alone. Writes OUT/plans.csv (one row a
plan), OUT/summary.json and OUT/accuracy.png. Takes about eight minutes on two quiet cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from analyse import Drawn, draw_figure, judge, predictions, print_summary
from sample import Sampler, read_sessions

from hwsearch.cli.printing import progress_bar
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.formats.catalog import ONNX_FORMATS
from hwsearch.jobs.profiling.whole_model_runs import export_plans
from hwsearch.latency.devices.environment import environment
from hwsearch.latency.prediction.calibration import calibration_plans
from hwsearch.latency.timing.operator_times import Kept, operators_of
from hwsearch.plan import CompressionPlan
from hwsearch.sinks import calibrate_sinks
from hwsearch.study.choices.search_space import THRESHOLDS
from hwsearch.study.preparation import default_workload
from hwsearch.tasks.choice import TaskChoice

RESULTS = Path(__file__).parent / "results"

#: Seed of the plans that calibrate.
CALIBRATION_SEED = 0


def draw_plans(layers: int, count: int, seed: int) -> list[CompressionPlan]:
    """Plans whose formats and thresholds are drawn layer by layer."""
    drawn = calibration_plans(layers, ONNX_FORMATS, THRESHOLDS, mixed=count, seed=seed)
    return drawn[len(ONNX_FORMATS) :]


def main() -> None:
    options = parse(__doc__, plans=30, out=RESULTS)
    denoiser = load_denoiser(options.model)
    study(denoiser, draw_plans(denoiser.num_layers, options.plans, options.seed), options)


def study(
    denoiser: Denoiser,
    plans: Sequence[CompressionPlan],
    options: argparse.Namespace,
    kept: Kept | None = None,
) -> None:
    """Time operators, plans that calibrate and `plans` in the same rounds; predict, judge, write."""
    options.out.mkdir(parents=True, exist_ok=True)
    workload, kept = default_workload(denoiser), kept or Kept()
    keys = operators_of(denoiser.geometry, workload, kept=kept)
    fitted = calibration_plans(
        denoiser.num_layers,
        ONNX_FORMATS,
        THRESHOLDS,
        options.calibration,
        CALIBRATION_SEED,
        kept.sizes(denoiser.geometry),
    )
    plans = [*fitted, *plans]
    sinks = calibrate_sinks(denoiser, TaskChoice().calibration_questions(16))
    with progress_bar():
        bundles = export_plans(denoiser, plans, sinks, options.out / "bundles")
        sampler = Sampler(denoiser, workload, keys, bundles, options.threads)
        sampler.run(options.out / "samples.csv", options.sessions, options.rounds)
    table, measured = read_sessions(options.out / "samples.csv", options.sessions, keys)
    drawn = Drawn(denoiser, workload, [sinks.keep(plan) for plan in plans])
    frame, microseconds = predictions(drawn, table, measured, len(fitted))
    frame.to_csv(options.out / "plans.csv", index=False)
    summary = judge(frame) | {
        "prediction_us": microseconds,
        "environment": environment() | {"threads": str(options.threads)},
        "rounds": options.rounds,
        "sessions": options.sessions,
        "seed": options.seed,
        "calibration_plans": len(fitted),
    }
    (options.out / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    draw_figure(frame, options.out / "accuracy.png")
    print_summary(summary)


def parse(about: str | None, plans: int, out: Path) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("--model", default="gsm-mini")
    parser.add_argument("--plans", type=int, default=plans, help="drawn plans to judge")
    parser.add_argument("--calibration", type=int, default=12, help="mixed plans to calibrate with")
    parser.add_argument("--rounds", type=int, default=12, help="samples of each a session")
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=2028, help="of the plans that are judged")
    parser.add_argument("--out", type=Path, default=out)
    return parser.parse_args()


if __name__ == "__main__":
    main()
