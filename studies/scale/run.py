"""What a model of some size takes: memory and time of export, verification, one block and one loss.

    python studies/scale/make_checkpoint.py --size 8b --out FOLDER
    python studies/scale/run.py FOLDER [--memory 8GiB] [--out studies/scale/results.csv] [--work FOLDER]
    python studies/scale/run.py FOLDER --stages nearest,calibrated     # all linears rounded to w4

Each stage is a process of its own, and its memory is looked at ten times a second: what it holds itself
(anonymous) and pages of files that it has mapped (which the system may drop). Prints machine and
instruction set; adds a row a stage to the CSV.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from hwsearch.latency.devices.environment import this_machine

FIELDS = (
    "model", "parameters", "layers", "stage", "seconds", "cpu_seconds", "held_gib", "mapped_gib", "result",
    "machine",
)  # fmt: skip

LOSS = """
import json, sys, torch
from hwsearch.compression import WeightBank, compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.plan import CompressionPlan
from hwsearch.tasks.losses.kl import FrozenStates
model, plan, memory, tokens = sys.argv[1:]
denoiser = ModelOptions(memory=memory).load(model)
words = ["tom", "has", "apples", "and", "buys", "more", "how", "many"]
length = int(tokens) - denoiser.decoding.gen_length
questions = [" ".join(words[(i + j) % 8] for i in range(length)) for j in range(4)]
states = FrozenStates.record(denoiser, questions)
import time
from hwsearch.denoisers.backends import backend_of
kept = KeptShares.keeping_all(denoiser.num_layers)
network = compress(denoiser, CompressionPlan.read(__import__("pathlib").Path(plan))).network
began, used = time.perf_counter(), time.process_time()
loss = states.loss(network, kept)
took = time.process_time() - used
backend = backend_of(denoiser.network, kept)
used = time.process_time()
for state in states.states:
    backend.begin(state.history)
    backend.refresh_logits(state.at_refresh, state.start, state.stop)
    backend.step_logits(state.at_step, state.start, state.stop)
passes = time.process_time() - used
print(json.dumps({"loss": loss, "loss_cpu_s": took, "passes_cpu_s": passes, "ratio": took / passes}))
"""

ROUND = """
import json, sys, time, torch
from hwsearch.compression.pruning import text_passes
from hwsearch.compression.rounding import CalibratedWeights
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.formats.catalog import format_of
from hwsearch.plan import WeightFormat
model, memory, rounding = sys.argv[1:]
denoiser, w4 = ModelOptions(memory=memory).load(model), WeightFormat.W4
wanted = {path: w4 for path in denoiser.network.linear_groups().paths()}
began = time.perf_counter()
if rounding == "calibrated":
    texts = torch.randint(0, denoiser.geometry.vocab_size, (64, 128)).tolist()
    CalibratedWeights(denoiser, text_passes(denoiser, [(t[:64], t[64:]) for t in texts])).weights(wanted)
else:
    for path in wanted:
        format_of(w4).encode(denoiser.network.get_submodule(path).weight.detach().float().numpy().T)
print(json.dumps({"linears": len(wanted), "rounding_s": round(time.perf_counter() - began, 1)}))
"""


def main() -> None:
    """Measure every stage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--memory", default="8GiB")
    parser.add_argument("--out", type=Path)
    parser.add_argument(
        "--work", type=Path, help="where the bundle goes; a folder of its own if left"
    )
    parser.add_argument("--stages", default="export,verify,generate,loss")
    options = parser.parse_args()
    config = json.loads((options.model / "config.json").read_text())
    work = options.work or Path(tempfile.mkdtemp())
    work.mkdir(parents=True, exist_ok=True)
    plan, bundle = work / "plan.json", work / "bundle"
    plan.write_text(json.dumps(mixed(config["n_layers"])))
    hwsearch = [sys.executable, "-m", "hwsearch.cli.main"]
    asked = "tom has 3 apples and buys more how many apples has tom now ?"
    commands = {
        "export": [
            *hwsearch, "export", "--model", str(options.model), "--plan", str(plan), "-o", str(bundle),
            "--memory", options.memory, "--references", "1", "--overwrite",
        ],
        "verify": [*hwsearch, "verify", str(bundle), "--limit", "0", "--json"],
        "generate": [*hwsearch, "generate", str(bundle), asked],
        "loss": [sys.executable, "-c", LOSS, str(options.model), str(plan), options.memory, "128"],
        **{
            name: [sys.executable, "-c", ROUND, str(options.model), options.memory, name]
            for name in ("nearest", "calibrated")
        },
    }  # fmt: skip
    rows = []
    for stage in options.stages.split(","):
        found = watched(commands[stage])
        row = {
            "model": options.model.name,
            "parameters": count(config),
            "layers": config["n_layers"],
            "stage": stage,
            "machine": this_machine(),
            **found,
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
        if options.out is not None:
            add(options.out, row)
    if options.work is None:
        shutil.rmtree(work)


def mixed(layers: int) -> dict[str, object]:
    """w4 and w8 in turn."""
    rows = [
        {"attention": "w4", "mlp": "w4"} if i % 2 else {"attention": "w8", "mlp": "w4"}
        for i in range(layers)
    ]
    return {"layers": rows, "head": "w8"}


def count(config: dict[str, int]) -> int:
    """Parameters of the model."""
    hidden, inner = config["d_model"], config["mlp_hidden_size"]
    layer = 4 * hidden * hidden + 3 * hidden * inner + 2 * hidden
    return config["n_layers"] * layer + 2 * config["vocab_size"] * hidden + hidden


def watched(command: list[str]) -> dict[str, object]:
    """Run a command; its seconds, its peaks of memory in GiB, and what it printed last."""
    before, began = os.times(), time.perf_counter()
    held = mapped = 0
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(command, stdout=output, text=True)
        while process.poll() is None:
            status = read_status(process.pid)
            held = max(held, status.get("RssAnon", 0))
            mapped = max(mapped, status.get("RssFile", 0) + status.get("RssShmem", 0))
            time.sleep(0.1)
        output.seek(0)
        said = output.read().strip()
    after = os.times()
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system,
            1,
        ),
        "held_gib": round(held / 2**20, 2),
        "mapped_gib": round(mapped / 2**20, 2),
        "result": f"exit {process.returncode}: {said[-300:]!r}",
    }


def read_status(pid: int) -> dict[str, int]:
    """Memory of a process by kind, in KiB."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return {}
    lines = (line.split() for line in text.splitlines() if line.startswith("Rss"))
    return {name.rstrip(":"): int(value) for name, value, *_ in lines}


def add(path: Path, row: dict[str, object]) -> None:
    """A row at the end of a CSV."""
    fresh = not path.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, FIELDS)
        if fresh:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
