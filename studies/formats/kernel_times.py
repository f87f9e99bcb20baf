"""How long onnxruntime takes for a product in each format, beside ``w4`` of the same sizes.

    python studies/formats/kernel_times.py [--rounds 15] [-o studies/formats]

Products of gsm-mini's, SmolLM2's and LLaDA-8B's sizes, with the rows of a block and of a whole sequence; all
formats side by side in changing order, one thread, several copies each so that weights are not in the
nearest cache. Prints the machine and, for each format and size, the median over rounds of its ratio to
``w4`` in the same round, with the range of the middle half.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from hwsearch.formats.catalog import ONNX_FORMATS
from hwsearch.latency.devices.environment import this_machine
from hwsearch.latency.operators import OpKey
from hwsearch.latency.timing.clock import interleave
from hwsearch.latency.timing.operator_graphs import build_probe
from hwsearch.latency.timing.operator_times import open_probes

#: Inputs and outputs: an mlp's first product of each model.
SIZES = {"gsm-mini": (256, 2 * 1024), "SmolLM2-135M": (576, 2 * 1536), "LLaDA-8B": (4096, 12288)}
ROWS = (16, 128)
BESIDE = "w4"


def timed(inner: int, outer: int, rows: int, rounds: int) -> pd.DataFrame:
    """A row a format."""
    keys = {
        fmt.value: OpKey("linear", rows, inner, outer, format=fmt.value) for fmt in ONNX_FORMATS
    }
    copies = 1 if inner > 2048 else None
    runs = open_probes({key: build_probe(key, copies) for key in keys.values()}, threads=1)
    samples = interleave(runs, rounds)
    beside = np.array(samples[keys[BESIDE]])
    found = []
    for name, key in keys.items():
        ratios = np.array(samples[key]) / beside
        low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
        found.append({"format": name, "ratio": middle, "low": low, "high": high})
    return pd.DataFrame(found)


def main() -> None:
    """Time, print and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--models", nargs="+", default=list(SIZES), choices=list(SIZES))
    parser.add_argument("-o", "--out", type=Path)
    options = parser.parse_args()
    print(this_machine())
    parts = []
    for model in options.models:
        for rows in ROWS:
            part = timed(*SIZES[model], rows, options.rounds)
            part.insert(0, "rows", rows)
            part.insert(0, "model", model)
            print(part.to_string(index=False, float_format="{:.2f}".format), flush=True)
            parts.append(part)
    if options.out is not None:
        table = pd.concat(parts)
        table.to_csv(options.out / "kernel_times.csv", index=False, float_format="%.3f")


if __name__ == "__main__":
    main()
