"""Types of llama-bench's output, each predicted by a device that was fitted to the others.

    python studies/llama-cpp/heldout.py

The outputs beside this file are of SmolLM2-135M on one thread of an AMD EPYC with AVX2, by llama-bench of the
llama.cpp in llama-cpp-python 0.3.36:

    llama-bench -p 512 -n 128 -t 1 -r 3 -m F16 ... -m IQ4_NL -o json > repacked.json
    llama-bench -p 128 -n 64 -t 1 -r 3 --repack 1 -m F16 -m Q8_0 -m Q4_0 -o json > repacked-short.json
    llama-bench -p 128 -n 64 -t 1 -r 3 --repack 0 -m F16 ... -m Q5_1 -o json > not-repacked.json

Files in F16, Q8_0, Q4_0 and Q4_1 are of `hwsearch export --to gguf`, the others were written with the package
gguf: Q5_0 and Q5_1 by its `quantize`, IQ4_NL as the bytes of Q4_0, which have the same layout, so that its
numbers are nonsense and its times are not.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from hwsearch.denoisers.geometry import Geometry
from hwsearch.latency.benchmarks.device import import_bench
from hwsearch.latency.benchmarks.llama_bench import BenchTest

HERE = Path(__file__).parent
SMOLLM2 = Geometry(49152, 576, 30, 9, 3, 64, 1536)
KIT = ("F16", "Q8_0", "Q4_0")


def report(path: Path, types: tuple[str, ...] | None) -> None:
    """Print the fit and its errors, of some types or of all."""
    rows = json.loads(path.read_text())
    kept = [row for row in rows if types is None or BenchTest(**row).kind in types]
    with tempfile.TemporaryDirectory() as folder:
        chosen = Path(folder) / "bench.json"
        chosen.write_text(json.dumps(kept))
        info = import_bench(chosen, "here", SMOLLM2, Path(folder)).info
    fit = f"{info.roofline.bandwidth_gbps} GB/s, {info.roofline.operator_us} us an operator"
    print(f"{path.name}, {'all' if types is None else ' '.join(types)}: {fit}")
    for check in info.checks:
        said = f"{check.predicted_ms:8.5g} for {check.published_ms:8.5g} ms"
        print(f"  {check.format:6} {check.rows:4} rows: {said}, {check.error:+.1%}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--types", nargs="+", help="fit these alone")
    given = parser.parse_args()
    for path in sorted(HERE.glob("*.json")):
        if given.types:
            report(path, tuple(given.types))
            continue
        report(path, None)
        if path.name != "repacked-short.json":
            report(path, KIT)


if __name__ == "__main__":
    main()
