"""What rounding by calibration saves, a format a row: losses beside those of rounding to nearest.

    python -m tests.smollm2 --download
    python studies/formats/calibrated.py smollm2 GSM8K [--problems 64] [--calibration 32] [--formats w8a8,w4]
    python studies/formats/calibrated.py gsm-mini
    python studies/formats/calibrated.py gsm-mini --channels 0.75   # of each layer, chosen by Wanda

GSM8K is a folder with train.jsonl and test.jsonl. SmolLM2 is read from left to right: its loss is what a
format adds to the negative log-likelihood of right answers, in nats a token, and it is calibrated on other
problems with their answers. gsm-mini's is the KL divergence from the uncompressed model at masked positions
of its own generations, and it is calibrated on its own answers to its calibration questions. All linears but
the head are in the format. Of a pruned model, losses are beside those of the pruned model with float weights.
Rows are put into calibrated.csv beside this file, in place of those of the same model and format. Intervals
are of the mean over problems (Student's, 95 %); `ratio` is that of the two means, with an interval by
resampling problems, both losses of a problem together.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from table import put

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hwsearch.compression import (
    WeightBank,
    WeightCalibration,
    compress,
    own_calibration,
    text_passes,
)
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.activation_cache import ActivationCache
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.plan import LINEAR_GROUPS, CompressionPlan
from hwsearch.tasks.choice import TaskChoice
from hwsearch.tasks.losses import make_loss
from hwsearch.tasks.losses.teacher_forcing import answered
from tests.smollm2 import FILE

TABLE = Path(__file__).with_name("calibrated.csv")
Losses = NDArray[np.float64]


def subject(options: argparse.Namespace) -> tuple[Denoiser, WeightCalibration, list[Any]]:
    """The model, what its linears see, and a loss a problem."""
    if options.model == "gsm-mini":
        task = TaskChoice()
        denoiser = task.asking(load_denoiser("gsm-mini"))
        calibration = own_calibration(denoiser, task.calibration_questions())
    else:
        task = TaskChoice(task="gsm8k", task_path=options.gsm8k, num_shots=0)
        denoiser = task.asking(load_denoiser(FILE, causal=True))
        solved = answered(denoiser, task.worded("train", options.calibration))
        texts = [(row.given, row.target[: len(row.encoding.ids) + 1]) for row in solved]
        calibration = WeightCalibration(denoiser, text_passes(denoiser, texts))
    kind = "kl" if options.model == "gsm-mini" else "nll"
    problems = task.worded("test", options.problems)
    losses = [make_loss(kind, denoiser, [problem]) for problem in problems]
    for loss in losses:
        loss.activations = ActivationCache(0)  # no plan is judged twice
    return denoiser, calibration, losses


def row(
    floats: CompressionPlan, fmt: str, bank: WeightBank, losses: Sequence[Any], plain: Losses
) -> dict[str, object]:
    """A format's figures, beside the losses of a plan that rounds nothing."""
    formats = dict.fromkeys(LINEAR_GROUPS, fmt)
    layers = [layer.model_copy(update=formats) for layer in floats.layers]
    added: dict[str, Losses] = {}
    spent = 0.0
    for rounding in ("nearest", "calibrated"):
        plan = floats.model_copy(update={"layers": tuple(layers), "rounding": rounding})
        begin = time.perf_counter()
        compress(bank.denoiser, plan, bank)
        spent = time.perf_counter() - begin
        added[rounding] = _measured(plan, bank, losses) - plain
    found: dict[str, object] = {}
    for name, values in added.items():
        low, high = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
        found |= {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
    ratio = stats.bootstrap(
        (added["calibrated"], added["nearest"]),
        lambda a, b, axis: a.mean(axis) / b.mean(axis),
        paired=True, method="percentile", rng=np.random.default_rng(0),
    ).confidence_interval  # fmt: skip
    found["ratio"] = added["calibrated"].mean() / added["nearest"].mean()
    found |= {"ratio_low": ratio.low, "ratio_high": ratio.high, "rounding_s": spent}
    return {name: f"{value:.4g}" for name, value in found.items()}


def _measured(plan: CompressionPlan, bank: WeightBank, losses: Sequence[Any]) -> Losses:
    kept = KeptShares.keeping_all(len(plan.layers))
    network = compress(bank.denoiser, plan, bank).network
    return np.array([loss.loss(network, kept) for loss in losses])


def main() -> None:
    """Measure some formats of a model."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", choices=["gsm-mini", "smollm2"])
    parser.add_argument("gsm8k", nargs="?", help="needed for smollm2")
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--calibration", type=int, default=32, help="problems of smollm2's")
    parser.add_argument("--formats", default="w8a8,w4,w8")
    parser.add_argument(
        "--channels", type=float, default=1.0, help="share that stays in each layer"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    denoiser, calibration, losses = subject(options)
    kind = f"{losses[0].name} nats"
    name, kept = options.model, None
    if options.channels < 1:
        kept = denoiser.geometry.channels_of(options.channels)
        name += f", {options.channels:g} of its channels"
    plan = CompressionPlan.uniform(denoiser.num_layers, kept_channels=kept)
    plain = _measured(plan, WeightBank(denoiser, calibration), losses)
    for fmt in options.formats.split(","):
        # a bank of its own a format: what was rounded is not needed again
        found = row(plan, fmt, WeightBank(denoiser, calibration), losses, plain)
        named = {"model": name, "format": fmt, "loss": kind, "problems": len(losses)}
        put(TABLE, named | found, ["model", "format"], lambda one: str(one["model"]))
        print(named | found, flush=True)


if __name__ == "__main__":
    main()
