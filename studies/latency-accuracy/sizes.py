"""Predicted against measured time of plans with fewer heads and channels, phases and other rules.

Times gsm-mini's operators, pruned sizes among them, in this run, calibrates them, draws plans that the
calibration did not see, and measures their generations side by side. Goes on where it was cut off.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from hwsearch.cli.options import progress_bar, tracked
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading import load_denoiser
from hwsearch.jobs.timing import Effort, export_plans, profile_machine
from hwsearch.latency.calibrate import MAGNITUDE
from hwsearch.latency.environment import environment
from hwsearch.latency.measure import measure
from hwsearch.latency.predict import Predictor
from hwsearch.latency.profile import Kept
from hwsearch.plan import CachePolicy, CompressionPlan
from hwsearch.runtime import OnnxBackend
from hwsearch.search.preparation import calibration_questions, default_workload
from hwsearch.search.space import THRESHOLDS
from hwsearch.sinks import calibrate_sinks

KEPT = Kept((0.6,), (0.75, 0.5))
FORMATS = ("fp32", "w8a8", "w8", "w4")
CACHES = (
    CachePolicy(),
    CachePolicy(late_scale=0.5),
    CachePolicy(early_scale=1.5, late_scale=0.3, boundary=0.7),
    CachePolicy(rule="mean-query"),
    CachePolicy(rule="recent", late_scale=0.5),
    CachePolicy(running=False),
)


def draw(denoiser: Denoiser, count: int, seed: int) -> list[CompressionPlan]:
    """Plans whose sizes, formats and thresholds are drawn layer by layer, and each cache in turn."""
    rng, g = random.Random(seed), denoiser.geometry
    choices = {
        "sink_threshold": THRESHOLDS,
        "attention": FORMATS,
        "mlp": FORMATS,
        "kept_heads": KEPT.head_counts(g),
        "kept_channels": KEPT.channel_counts(g),
    }
    return [
        CompressionPlan.validate(
            {
                "layers": [
                    {name: rng.choice(values) for name, values in choices.items()}
                    for _ in range(g.num_layers)
                ],
                "head": rng.choice(FORMATS),
                "cache": CACHES[index % len(CACHES)],
                "pruning": MAGNITUDE,
            }
        )
        for index in range(count)
    ]


def main() -> None:
    options = parse()
    denoiser = load_denoiser("gsm-mini")
    workload = default_workload(denoiser)
    plans = draw(denoiser, options.plans, seed=options.seed)
    sinks = calibrate_sinks(denoiser, calibration_questions(16))
    effort = Effort(1, options.rounds, options.sessions, options.calibration)
    with progress_bar() as bar:
        show = tracked(bar)
        bundles = export_plans(denoiser, plans, sinks, options.out / "bundles", show)
        device = profile_machine(
            denoiser, "sizes", options.out, kept=KEPT, effort=effort, tracked=show
        )
        measured = measure(
            {name: OnnxBackend(bundle, threads=1) for name, bundle in bundles.items()},
            workload,
            denoiser.mask_token_id,
            rounds=options.rounds * options.sessions,
            vocab_size=denoiser.geometry.vocab_size,
            progress=show("measuring plans side by side"),
        )
    predictor = Predictor(
        device, denoiser.geometry, workload, device.info.calibration(denoiser.name)
    )
    rows = [
        {
            "cache": plan.cache.model_dump_json(exclude_defaults=True),
            "predicted_ms": predictor.predict(plan, sinks.kept_shares(plan)).generation_ms,
            "measured_ms": measured.generation_ms(name),
        }
        for name, plan in zip(bundles, plans, strict=True)
    ]
    report(pd.DataFrame(rows), options.out)


def report(frame: pd.DataFrame, out: Path) -> None:
    """Write and print how far predictions are off."""
    frame["error"] = frame["predicted_ms"] / frame["measured_ms"] - 1
    frame.to_csv(out / "sizes.csv", index=False)
    summary = {
        "plans": len(frame),
        "generation_mape": float(frame["error"].abs().mean()),
        "mean_error": float(frame["error"].mean()),
        "within_10_percent": float((frame["error"].abs() <= 0.1).mean()),
        "spearman": float(stats.spearmanr(frame["predicted_ms"], frame["measured_ms"])[0]),
        "fastest_over_slowest": float(np.divide(*frame["measured_ms"].agg(["min", "max"]))),
        "environment": environment(),
    }
    (out / "sizes.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(frame.to_string(index=False))
    print(json.dumps(summary, indent=2))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plans", type=int, default=18)
    parser.add_argument("--calibration", type=int, default=12, help="mixed plans to calibrate with")
    parser.add_argument("--rounds", type=int, default=8, help="samples of each a session")
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0, help="of the plans")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results" / "sizes")
    return parser.parse_args()


if __name__ == "__main__":
    main()
