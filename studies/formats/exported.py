"""What a format costs as it is simulated, and as its exported file computes it; and what the file weighs.

    python studies/formats/exported.py gsm-mini [--questions 64] [--rounding calibrated] [--plans w4,fp8]
    python -m tests.smollm2 --download
    python studies/formats/exported.py smollm2 [--questions 4]

For every format that onnxruntime runs, all linears in it, and for mixes of formats layer by layer: the
mean KL divergence from the uncompressed model at masked positions of its own generations, of the simulation
in torch and of the bundle's graphs in onnxruntime on the same states; and the bytes of the bundle's weights
beside those that were predicted. SmolLM2 is read bidirectionally: it writes nonsense, but has real weights
and their outliers. Rows are put into exported.csv beside this file, in place of those of the same model,
rounding and plan. The interval of the ratio is by resampling questions, both losses of one together: inputs
fall on the other side of a rounding here and there, where floats are added in another order.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from table import put

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hwsearch.bundle import exporter_of
from hwsearch.compression import WeightBank, compress, own_calibration
from hwsearch.decoding.backend import LogitsBackend
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.formats.catalog import ONNX_FORMATS
from hwsearch.latency.devices.environment import this_machine
from hwsearch.plan import CompressionPlan, Rounding
from hwsearch.runtime.probe import ProbeBackend
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses.kl import FrozenStates
from tests import smollm2

TABLE = Path(__file__).with_name("exported.csv")
KEY = ["model", "rounding", "plan"]


def plans(layers: int, rounding: Rounding) -> Iterator[tuple[str, CompressionPlan]]:
    """Every format alone, and two mixes of all of them: by layer, and by group within each layer."""
    formats = [fmt for fmt in ONNX_FORMATS if fmt != "fp32"]
    for fmt in formats:
        yield fmt.value, CompressionPlan.uniform(layers, fmt, fmt, head=fmt, rounding=rounding)
    around = [formats[i % len(formats)] for i in range(4 * layers)]
    by_layer = [{"attention": fmt, "mlp": fmt} for fmt in around[:layers]]
    groups = ("qkv", "out", "gate_up", "down")
    by_group = [dict(zip(groups, around[4 * i :], strict=False)) for i in range(layers)]
    for name, rows in (("formats by layer", by_layer), ("formats by group", by_group)):
        yield (
            name,
            CompressionPlan.validate({"layers": rows, "head": "w8a8", "rounding": rounding}),
        )


def losses(states: FrozenStates, backend: LogitsBackend) -> NDArray[np.float64]:
    """Divergence of each state, summed over masked positions of its passes, and their number."""
    found = []
    for state in states.states:
        backend.begin()
        passes = [(state.at_refresh, backend.refresh_logits, state.refresh_logp)]
        if state.at_step is not None and state.step_logp is not None:
            passes.append((state.at_step, backend.step_logits, state.step_logp))
        parts = []
        for tokens, run, known in passes:
            logits = torch.as_tensor(run(tokens, state.start, state.stop))
            block = torch.from_numpy(tokens[:, state.start : state.stop])
            parts.append(known.divergence(logits, block == states.mask_token_id))
        found.append(np.sum(parts, axis=0))
    return np.array(found)


def measured(
    denoiser: Denoiser, plan: CompressionPlan, bank: WeightBank, states: FrozenStates
) -> dict[str, float]:
    """One plan's figures."""
    kept = KeptShares.keeping_all(denoiser.num_layers)
    compressed = compress(denoiser, plan, bank)
    simulated = losses(states, backend_of(compressed.network, kept))
    with tempfile.TemporaryDirectory() as folder:
        bundle = exporter_of(denoiser).export(compressed, kept, Path(folder) / "b", questions=[])
        exported = losses(states, ProbeBackend(bundle, threads=1))
        size = (bundle.path / "weights.bin").stat().st_size
    predicted = denoiser.plan_bytes(plan)
    interval = stats.bootstrap(
        (exported[:, 0], simulated[:, 0]),
        lambda a, b, axis: a.sum(axis) / b.sum(axis),
        paired=True, method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    return {
        "simulated": simulated[:, 0].sum() / simulated[:, 1].sum(),
        "exported": exported[:, 0].sum() / exported[:, 1].sum(),
        "ratio": exported[:, 0].sum() / simulated[:, 0].sum(),
        "ratio_low": interval.low,
        "ratio_high": interval.high,
        "bytes": size,
        "predicted_bytes": predicted,
        "bytes_ratio": size / predicted,
    }


def main() -> None:
    """Measure all plans of a model."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", choices=("gsm-mini", "smollm2"))
    parser.add_argument("--questions", type=int, default=64)
    parser.add_argument("--rounding", choices=("nearest", "calibrated"), default="nearest")
    parser.add_argument("--plans", help="some only, by name")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(this_machine())
    denoiser = smollm2.denoiser() if options.model == "smollm2" else load_denoiser("gsm-mini")
    asked = TaskChoice().calibration_questions()
    calibration = own_calibration(denoiser, asked) if options.rounding == "calibrated" else None
    bank = WeightBank(denoiser, calibration)
    states = FrozenStates.record(denoiser, asked[-options.questions :], batch=1)
    some = None if options.plans is None else options.plans.split(",")
    for name, plan in plans(denoiser.num_layers, options.rounding):
        if some is not None and name not in some:
            continue
        found = measured(denoiser, plan, bank, states)
        row: dict[str, object] = {
            "model": options.model,
            "rounding": options.rounding,
            "plan": name,
        }
        row |= {
            column: f"{value:.6g}" if isinstance(value, float) else value
            for column, value in found.items()
        }
        print(row, flush=True)
        put(TABLE, row, KEY, lambda one: (one["model"], one["rounding"]))


if __name__ == "__main__":
    main()
