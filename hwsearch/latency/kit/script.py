"""Time the graphs of this folder: needs Python 3.9, numpy and onnxruntime, and nothing else.

    python measure.py [--threads 1] [--rounds 10] [--sessions 3] [-o results.csv]

Copy the folder to the device, run this there, and bring the results back:
hwsearch profile --import results.csv --device NAME
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

HERE = Path(__file__).resolve().parent

#: A sample repeats a run to fill about this long: others have had the caches in between.
SAMPLE_SECONDS = 0.02

#: In graphs whose int8 products are exact without being asked (`hwsearch.runtime.graphs.PAIRED`).
PAIRED = b"hwsearch.paired_int8"


def _main() -> None:
    """Time every operator and write the results."""
    options = parse()
    kit = json.loads((HERE / "kit.json").read_text(encoding="utf-8"))
    pin(options.threads)
    began = time.perf_counter()
    rows: list[tuple[int, int, int, float]] = []
    batches = sorted({operator["batch"] for operator in kit["operators"]})
    for session in range(options.sessions):
        for batch in batches:
            chosen = [i for i, op in enumerate(kit["operators"]) if op["batch"] == batch]
            rows += time_batch(kit["operators"], chosen, session, options)
            done = (
                f"session {session + 1} of {options.sessions}, batch {batch + 1} of {len(batches)}"
            )
            print(done, file=sys.stderr, flush=True)
    elapsed = time.perf_counter() - began
    write(kit, sorted(rows), elapsed, options)


def time_batch(
    operators: list[dict[str, Any]], chosen: list[int], session: int, options: argparse.Namespace
) -> list[tuple[int, int, int, float]]:
    """Samples of some operators as (operator, session, sample, microseconds), in changing order."""
    runs = {index: open_run(operators[index], options.threads) for index in chosen}
    alone = {index: alone_of(run) for index, run in runs.items()}
    order, rng = list(chosen), random.Random(session)
    rows = []
    for sample in range(options.rounds):
        rng.shuffle(order)
        for index in order:
            repeats = max(1, round(SAMPLE_SECONDS / alone[index]))
            if repeats > 1:
                runs[index]()
            seconds = timed(runs[index], repeats)
            copies = operators[index]["copies"]
            rows.append((index, session, sample, round(seconds * 1e6 / copies, 3)))
    return rows


def open_run(operator: dict[str, Any], threads: int) -> Callable[[], object]:
    """A session of an operator's graph with random weights and inputs, ready to be timed."""
    settings = ort.SessionOptions()
    settings.log_severity_level = 3
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    graph = HERE / "graphs" / operator["graph"]
    if saturates() and PAIRED not in graph.read_bytes():
        settings.add_session_config_entry("session.x64quantprecision", "1")
    rng = np.random.default_rng(0)
    weights = {name: tensor(rng, *spec) for name, spec in operator["weights"].items()}
    if weights:
        values = [ort.OrtValue.ortvalue_from_numpy(value) for value in weights.values()]
        settings.add_external_initializers(list(weights), values)
    session = ort.InferenceSession(str(graph), settings, providers=["CPUExecutionProvider"])
    feeds = {
        name: ort.OrtValue.ortvalue_from_numpy(tensor(rng, *spec))
        for name, spec in operator["inputs"].items()
    }
    return lambda: session.run_with_ort_values(None, feeds)


def saturates() -> bool:
    """Whether quick products with int8 weights lose carries here; kits written earlier hold such."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    cpuinfo = Path("/proc/cpuinfo")
    return not (cpuinfo.is_file() and "vnni" in cpuinfo.read_text(encoding="utf-8"))


def tensor(rng: Any, kind: str, shape: list[int], below: int | None = None) -> Any:
    """A random array: whole numbers of the type's range, or from 0 to below a limit; small floats."""
    dtype = np.dtype(kind)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        low, high = (limits.min, limits.max) if below is None else (0, below - 1)
        return np.asarray(rng.integers(low, high, shape, dtype=dtype, endpoint=True))
    return (rng.standard_normal(shape, dtype=np.float32) * 0.1).astype(dtype)


def alone_of(run: Callable[[], object]) -> float:
    """Seconds of one run after another."""
    run()
    return max(timed(run, 1), 1e-9)


def timed(run: Callable[[], object], repeats: int) -> float:
    """Seconds of a run, the mean over so many."""
    began = time.perf_counter()
    for _ in range(repeats):
        run()
    return (time.perf_counter() - began) / repeats


def pin(threads: int) -> None:
    """Stay on the last processors, where the system allows it."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])


def facts(options: argparse.Namespace) -> dict[str, object]:
    """What machine this is."""
    found = {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "numpy": np.__version__,
        "onnxruntime": ort.__version__,
        "threads": options.threads,
        "date": time.strftime("%Y-%m-%d"),
    }
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    if governor.is_file():
        found["governor"] = governor.read_text(encoding="utf-8").strip()
    return found


def processor_name() -> str:
    """The processor's name, or the board's, or else the architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8").splitlines():
            if line.startswith(("model name", "Model", "Hardware")):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def write(
    kit: dict[str, Any],
    rows: list[tuple[int, int, int, float]],
    elapsed: float,
    options: argparse.Namespace,
) -> None:
    """Write the results: what machine, what was timed, and one line a sample."""
    head = facts(options) | {
        "unit": "us",
        "kit": kit["kit"],
        "operators": len(kit["operators"]),
        "sessions": options.sessions,
        "rounds": options.rounds,
        "elapsed_s": round(elapsed, 3),
        "sum_us": round(sum(row[3] for row in rows), 3),
    }
    if kit.get("whole"):
        head["whole"] = json.dumps(kit["whole"])
    top = ["# hwsearch kit results, version 2"]
    top += [f"# {name}: {value}" for name, value in head.items()]
    lines = [",".join([*kit["columns"], "session", "sample", "sample_us"])]
    for index, session, sample, micro in rows:
        key = [str(kit["operators"][index]["key"][column]) for column in kit["columns"]]
        lines.append(",".join([*key, str(session), str(sample), str(micro)]))
    digest = hashlib.sha256("\n".join([*top, *lines]).encode()).hexdigest()
    text = "\n".join([*top, f"# sha256: {digest}", *lines])
    options.out.write_text(text + "\n", encoding="utf-8")
    print(
        f"{len(rows)} samples in {options.out}; bring it back and: "
        f"hwsearch profile --import {options.out.name} --device NAME",
        file=sys.stderr,
    )


def parse() -> argparse.Namespace:
    """Options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--sessions", type=int, default=3)
    parser.add_argument("-o", "--out", type=Path, default=Path("results.csv"))
    return parser.parse_args()


if __name__ == "__main__":
    _main()
