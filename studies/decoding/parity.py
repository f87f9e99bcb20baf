"""Do torch and onnxruntime write the same text? Every commit policy and window, uncompressed.

    python studies/decoding/parity.py [--problems 500] [-o FOLDER]

A float plan, so that only the order of sums differs: torch decodes in batches, onnxruntime one
problem after the other from an exported bundle. Texts are compared as they are scored, cut where the
answer ends. Prints the share of equal texts with Wilson's 95 % interval, and passes of both a
generation. With a folder, each row is written to `parity.csv` as it is found, and a run that was cut
off goes on behind them.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from hwsearch.bundle.exporter import exporter_of
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.engine import Runtime
from hwsearch.tasks.evaluation import evaluate
from hwsearch.tasks.gsm_mini.generator import problems
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.statistics import wilson

STOP = {"stop_at_end": True}
FAST = STOP | {"window": {"advance": True}}
THRESHOLD = {"commit": {"policy": "threshold"}}

#: What each decoding changes of the makers'.
DECODINGS: dict[str, dict[str, Any]] = {
    "makers": {},
    "makers, stop": STOP,
    "threshold": THRESHOLD | STOP,
    "threshold, advance": THRESHOLD | FAST,
    "threshold, neighbourhood": THRESHOLD | STOP | {"window": {"before": 16, "after": 16}},
    "threshold, prefix": THRESHOLD | STOP | {"window": {"after": None}},
    "threshold, slide": THRESHOLD | STOP | {"window": {"slide": True, "before": 24}},
    "threshold, suffix 16": THRESHOLD | FAST | {"suffix_window": 16},
    "factor, advance": {"commit": {"policy": "factor"}} | FAST,
    "decaying, advance": {"commit": {"policy": "decaying-threshold"}} | FAST,
    "entropy, advance": {"commit": {"policy": "entropy-bound"}} | FAST,
    "kl-stable, advance": {"commit": {"policy": "kl-stable"}} | FAST,
    "credit, advance": {"commit": {"policy": "credit"}} | FAST,
    "hierarchy, advance": {"commit": {"policy": "hierarchy"}} | FAST,
}


def main() -> None:
    """Compare decoding by decoding."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--problems", type=int, default=500)
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    asked = list(islice(problems("validation"), options.problems))
    denoiser = load_denoiser("gsm-mini")
    file = None if options.out is None else options.out / "parity.csv"
    rows = [] if file is None or not file.exists() else pd.read_csv(file).to_dict("records")
    rows = [row for row in rows if row["problems"] == len(asked) and row["decoding"] in DECODINGS]
    for name, changes in DECODINGS.items():
        if name not in {row["decoding"] for row in rows}:
            rows.append({"decoding": name, **compared(denoiser, changes, asked)})
        print(pd.DataFrame(rows[-1:]).to_string(header=len(rows) == 1), flush=True)
        if file is not None:
            file.parent.mkdir(parents=True, exist_ok=True)
            pd.DataFrame(rows).to_csv(file, index=False, float_format="%.4f")


def compared(
    denoiser: Denoiser, changes: dict[str, Any], asked: list[Problem]
) -> dict[str, float | str]:
    """How often both write the same, and in how many passes."""
    decoding = denoiser.decoding.changed(changes)
    plan = CompressionPlan.uniform(denoiser.num_layers, decoding=decoding.model_dump())
    kept, compressed = KeptShares.keeping_all(denoiser.num_layers), compress(denoiser, plan)
    backend = backend_of(compressed.network, kept)
    expected = evaluate(backend, denoiser, asked, decoding=decoding)
    with tempfile.TemporaryDirectory() as folder:
        bundle = exporter_of(denoiser).export(compressed, kept, Path(folder) / "bundle")
        runtime = Runtime(bundle, threads=1)
        texts, passes = [], 0
        for problem in asked:
            prompt = runtime.prompt(problem.question)
            found = runtime.generation(prompt)
            texts.append(runtime.text(found.tokens[0, len(prompt) :].tolist()))
            passes += len(found.passes)
    number = len(asked)
    differ = [
        i for i, pair in enumerate(zip(texts, expected.texts, strict=True)) if len({*pair}) > 1
    ]
    low, high = wilson(number - len(differ), number)
    return {
        "problems": number,
        "same": 1 - len(differ) / number,
        "low": low,
        "high": high,
        "torch passes": sum(expected.mean_passes.values()),
        "onnxruntime passes": passes / number,
        "differ": " ".join(map(str, differ)),
    }


if __name__ == "__main__":
    main()
