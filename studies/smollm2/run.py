"""Bundles of SmolLM2-135M, read bidirectionally: noise floor, agreement and bytes, one row each.

    python -m tests.smollm2 --download
    python studies/smollm2/run.py [--questions 4] [--plans w8a8,mixed] > studies/smollm2/results.csv

Takes 6 GB of memory and some ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hwsearch.bundle import Exporter
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.jobs.verification import verify
from hwsearch.tasks.gsm_mini.generator import problems
from tests import smollm2
from tests.jobs.test_smollm2 import plans

COLUMNS = (
    "plan",
    "verified",
    "noise_floor",
    "kl",
    "typical",
    "argmax_agrees",
    "tokens_repeated",
    "plain_difference",
    "size_bytes",
    "weights_bytes",
    "plan_bytes",
)


def main() -> None:
    """Export, verify and print each plan."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--questions", type=int, default=4)
    parser.add_argument("--plans", default="w8a8,mixed")
    chosen = parser.parse_args()
    questions = [one.question for one in islice(problems("validation"), chosen.questions)]
    denoiser = smollm2.denoiser()
    exporter = Exporter(denoiser)
    table = csv.DictWriter(sys.stdout, COLUMNS)
    table.writeheader()
    for name in chosen.plans.split(","):
        plan = plans(denoiser.num_layers)[name]
        kept = KeptShares.keeping_all(denoiser.num_layers)
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / name
            bundle = exporter.export(compress(denoiser, plan), kept, out, questions=questions)
            checks = {check.name: check for check in verify(out)}
            figures = {key: check.figures for key, check in checks.items()}
            plain = [f["difference"] for key, f in figures.items() if key.startswith("plain")]
            row = {
                "plan": name,
                "verified": all(c.passed for c in checks.values() if c.decides),
                "noise_floor": figures["predictions"]["noise_floor"],
                "kl": figures["predictions"]["kl"],
                "typical": figures["predictions"]["typical"],
                "argmax_agrees": figures["choices"]["same"],
                "tokens_repeated": figures["generations"]["share"],
                "plain_difference": max(plain),
                "size_bytes": bundle.size_bytes,
                "weights_bytes": (out / "weights.bin").stat().st_size,
                "plan_bytes": denoiser.plan_bytes(plan),
            }
        table.writerow(row)
        sys.stdout.flush()


if __name__ == "__main__":
    main()
