"""What commands take before their work begins, as processor time beside that of an empty Python.

    python studies/startup/run.py [--rounds 9] [--root OTHER_CHECKOUT] [--name before]

Every command is run in turns, a round each, in a process of its own, in a folder with a small study. What
counts is processor time (user and system), which a busy machine changes little, and wall-clock time beside
it: medians over rounds. ``ratio`` is the wall-clock time over that of ``python -c pass``. Which packages a
command loads is told by the process itself. Rows go to ``results.csv``; rows of another name stay.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from hwsearch.denoisers.loading.config import read_config
from hwsearch.plan import CompressionPlan

HERE = Path(__file__).parent
RESULTS = HERE / "results.csv"
HEAVY = (
    "torch",
    "optuna",
    "sqlalchemy",
    "pandas",
    "scipy",
    "onnxruntime",
    "tokenizers",
    "numpy",
    "pydantic",
)

#: Runs a command, then says what it has loaded.
CALL = f"""
import json, sys
try:
    from hwsearch.cli.main import main
    main()
except SystemExit as stop:
    loaded = [name for name in {HEAVY!r} if name in sys.modules]
    print(json.dumps(loaded), file=sys.stderr)
    raise
"""

COMMANDS = {
    "--help": ["--help"],
    "search --help": ["search", "--help"],
    "ls devices": ["ls", "devices"],
    "inspect": ["inspect", "gsm-mini"],
    "front": ["front", "s"],
    "front --target-ms": ["front", "s", "--target-ms", "1000"],
    "predict": ["predict", "plan.json", "--device", "apple-m2"],
    "search --dry-run": ["search", "--model", "gsm-mini", "--device", "apple-m2", "--target-ratio", "0.5",
                         "--dry-run"],
}  # fmt: skip

SEARCH = (
    "search", "--model", "gsm-mini", "--device", "apple-m2", "--target-ratio", "1.0", "--limit", "2",
    "--name", "s", "--formats", "fp16,w4", "--thresholds", "1.0", "--groups", "tied",
    "--trials", "4", "--decoding", "makers.json",
)  # fmt: skip


def run(arguments: list[str], folder: Path, root: Path) -> tuple[float, float, list[str]]:
    """Wall-clock and processor seconds of a process, and what its last line of errors says."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        # modules are compiled once, as on any machine that does not forbid it
        env={**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, json.loads((done.stderr.splitlines() or ["[]"])[-1])


def measure(rounds: int, root: Path, name: str) -> list[dict[str, object]]:
    commands = {"python -c pass": ["-c", "pass"], "import hwsearch": ["-c", "import hwsearch"]}
    commands |= {verb: ["-c", CALL, *rest] for verb, rest in COMMANDS.items()}
    layers = read_config("gsm-mini").geometry.num_layers
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        (folder / "makers.json").write_text("{}")
        (folder / "plan.json").write_text(
            CompressionPlan.uniform(layers, "fp16", "fp16", head="fp16").to_json()
        )
        run(["-c", CALL, *SEARCH], folder, root)
        found = {verb: [] for verb in commands}
        for _ in range(rounds):
            for verb, arguments in commands.items():
                found[verb].append(run(arguments, folder, root))
    empty = median(wall for wall, _, _ in found["python -c pass"])
    return [
        {
            "name": name,
            "command": verb,
            "cpu_s": round(median(cpu for _, cpu, _ in times), 3),
            "wall_s": round(median(wall for wall, _, _ in times), 3),
            "ratio": round(median(wall for wall, _, _ in times) / empty, 1),
            "loads": " ".join(times[-1][2]),
            "machine": f"{platform.machine()} {os.cpu_count()} cores",
            "rounds": rounds,
        }
        for verb, times in found.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--root", type=Path, default=HERE.parents[1])
    parser.add_argument("--name", default="now")
    options = parser.parse_args()
    rows = measure(options.rounds, options.root, options.name)
    kept = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            kept = [row for row in csv.DictReader(file) if row["name"] != options.name]
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows([*kept, *rows])
    for row in rows:
        print(f"{row['command']:20} {row['cpu_s']:7.2f} s {row['wall_s']:7.2f} s  {row['loads']}")


if __name__ == "__main__":
    main()
