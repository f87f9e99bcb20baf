"""Decodings times formats on gsm-mini: passes, accuracy, and milliseconds in onnxruntime.

    python studies/decoding/run.py [--problems 500] [--timed 24] [--rounds 3] [-o FOLDER]

Accuracy is torch's, of the simulated plan, with Wilson's interval and the paired difference to the
uncompressed model under its makers' decoding. Times are of exported bundles on one thread: the same
problems by every bundle in every round, interleaved; medians over rounds of the mean over problems.
AUP (`aup.py`) is of the curve from the makers' decoding to this one, in the same format.
Prints machine and instruction set; writes `grid.csv` where a folder is given.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from aup import accuracy_under_parallelism

from hwsearch.bundle.exporter import exporter_of
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import PassShape, kinds
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.latency.devices.environment import this_machine
from hwsearch.latency.timing.clock import interleave
from hwsearch.latency.timing.pinning import pinned
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.runtime.engine import Runtime
from hwsearch.tasks.evaluation import Evaluation, evaluate
from hwsearch.tasks.gsm_mini.generator import problems
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.statistics import compare

THRESHOLD = {"commit": {"policy": "threshold", "threshold": 0.9}}
ADVANCE = {"window": {"advance": True}}
STOP = {"stop_at_end": True}

#: What each decoding changes of the makers'; the first is theirs.
DECODINGS: dict[str, dict[str, Any]] = {
    "makers": {},
    "makers, stop": STOP,
    "makers, stop, advance": STOP | ADVANCE,
    "threshold .9, no stop": THRESHOLD,
    "threshold .9": THRESHOLD | STOP,
    "threshold .7": {"commit": {"policy": "threshold", "threshold": 0.7}} | STOP,
    "threshold .9, advance": THRESHOLD | STOP | ADVANCE,
    "threshold .7, advance": {"commit": {"policy": "threshold", "threshold": 0.7}} | STOP | ADVANCE,
    "threshold .9, advance, suffix 16": THRESHOLD | STOP | ADVANCE | {"suffix_window": 16},
    "threshold .9, neighbourhood 16": THRESHOLD | STOP | {"window": {"before": 16, "after": 16}},
    "threshold .9, prefix": THRESHOLD | STOP | {"window": {"after": None}},
    "factor 1": {"commit": {"policy": "factor"}} | STOP | ADVANCE,
    "decaying .9": {"commit": {"policy": "decaying-threshold"}} | STOP | ADVANCE,
    "entropy .01": {"commit": {"policy": "entropy-bound"}} | STOP | ADVANCE,
    "kl-stable": {"commit": {"policy": "kl-stable"}} | STOP | ADVANCE,
    "credit": {"commit": {"policy": "credit"}} | STOP | ADVANCE,
    "hierarchy": {"commit": {"policy": "hierarchy"}} | STOP | ADVANCE,
}

FORMATS = ("fp32", "w8a8")


def main() -> None:
    """Run the grid and print it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("--timed", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    print(this_machine())
    denoiser = load_denoiser("gsm-mini")
    asked = list(islice(problems("validation"), options.problems))
    with tempfile.TemporaryDirectory() as folder:
        rows, bundles = [], {}
        for fmt in FORMATS:
            for name, changes in DECODINGS.items():
                plan = plan_of(denoiser, fmt, denoiser.decoding.changed(changes))
                bundles[fmt, name] = export(denoiser, plan, Path(folder) / f"{fmt}-{len(bundles)}")
                rows.append((fmt, name, answer(denoiser, plan, asked)))
        tokens = {row[:2]: answer_tokens(denoiser, row[2]) for row in rows}
        milliseconds = timed(bundles, asked[: options.timed], options.rounds)
    table = pd.DataFrame(
        described(*row, rows[0][2], milliseconds) | {"tokens": tokens[row[:2]]} for row in rows
    )
    table = table.assign(**parallelism(table))
    print(table.to_string(index=False, float_format="{:.3f}".format))
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        table.to_csv(options.out / "grid.csv", index=False, float_format="%.4f")


def plan_of(denoiser: Denoiser, fmt: str, decoding: Decoding) -> CompressionPlan:
    """All layers and the head in one format."""
    return CompressionPlan.uniform(
        denoiser.num_layers, fmt, fmt, head=fmt, decoding=decoding.model_dump()
    )


def export(denoiser: Denoiser, plan: CompressionPlan, folder: Path) -> Runtime:
    """A bundle of a plan, open on one thread."""
    kept = KeptShares.keeping_all(denoiser.num_layers)
    return Runtime(exporter_of(denoiser).export(compress(denoiser, plan), kept, folder), threads=1)


def answer(denoiser: Denoiser, plan: CompressionPlan, asked: list[Problem]) -> Evaluation:
    """What the simulated plan answers."""
    kept = KeptShares.keeping_all(denoiser.num_layers)
    backend = backend_of(compress(denoiser, plan).network, kept)
    return evaluate(backend, denoiser, asked, decoding=plan.decoding)


def answer_tokens(denoiser: Denoiser, found: Evaluation) -> float:
    """Tokens of an answer up to where it ends, the mean over problems."""
    encode = denoiser.tokenizer.encode
    return sum(len(encode(text, add_special_tokens=False).ids) for text in found.texts) / len(
        found.texts
    )


def parallelism(table: pd.DataFrame) -> dict[str, Any]:
    """Tokens per forward pass of each row, and its AUP, from the makers of its format."""
    rates = table["tokens"] / table[["refresh", "advance", "step"]].sum(axis=1)
    percent = 100 * table["accuracy"]
    makers = {
        fmt: (rates[i], percent[i])
        for i, (fmt, name) in enumerate(zip(table["format"], table["decoding"], strict=True))
        if name == "makers"
    }
    points = zip(table["format"], rates, percent, strict=True)
    areas = [
        accuracy_under_parallelism({makers[fmt], (rate, accuracy)}, best=percent.max())
        for fmt, rate, accuracy in points
    ]
    return {"tokens per pass": rates, "AUP": areas}


def timed(
    bundles: dict[tuple[str, str], Runtime], asked: list[Problem], rounds: int
) -> dict[tuple[str, str], float]:
    """Median milliseconds a generation, the mean over problems."""

    def run(runtime: Runtime) -> None:
        for problem in asked:
            runtime.generate_tokens(runtime.prompt(problem.question))

    with pinned(1):
        runs = {key: (lambda runtime=runtime: run(runtime)) for key, runtime in bundles.items()}
        samples = interleave(runs, rounds)
    medians = {key: sorted(found)[len(found) // 2] for key, found in samples.items()}
    return {key: value / 1e3 / len(asked) for key, value in medians.items()}


def described(
    fmt: str,
    name: str,
    found: Evaluation,
    baseline: Evaluation,
    milliseconds: dict[tuple[str, str], float],
) -> dict[str, Any]:
    """One row of the table."""
    counts: Counter[PassShape] = sum(found.passes, Counter())
    number = len(found.problems)
    low, high = found.interval
    versus = compare(found.score.correct, baseline.score.correct)
    ms = milliseconds[fmt, name]
    return {
        "format": fmt,
        "decoding": name,
        **{kind.value: count / number for kind, count in kinds(counts)},
        "rows": sum(shape.rows * count for shape, count in counts.items()) / number,
        "accuracy": found.accuracy,
        "low": low,
        "high": high,
        "difference": versus.difference,
        "difference low": versus.interval.low,
        "difference high": versus.interval.high,
        "ms": ms,
        "times faster": milliseconds["fp32", "makers"] / ms,
    }


if __name__ == "__main__":
    main()
