"""Other tools' 4-bit weights beside ours: same weights, same calibration text, same problems.

    python -m tests.smollm2 --download
    python studies/formats/other_tools.py prepare GSM8K FOLDER
    TOOL_PYTHON studies/formats/other_tools_round.py METHOD FOLDER
    python studies/formats/other_tools.py measure GSM8K FOLDER

GSM8K is a folder with train.jsonl and test.jsonl. `prepare` writes SmolLM2-135M in Hugging Face's form, the
text to calibrate on as tokens, and our own weights into FOLDER. Each tool then runs in an environment of its
own; other_tools_round.py says how to make them. It leaves a file of the weights that its numbers stand for,
of all linears but the head. `measure` puts each file's weights into hwsearch's network.

The loss is that of calibrated.py: what is added to the negative log-likelihood of right answers, in nats a
token, a test problem at a time. Inputs are floats (``fp32``), or rounded as our format does it (``int8``).
Rows are put into other_tools.csv beside this file. Intervals are of the mean over problems (Student's,
95 %). `beyond` is what a row loses more than ours of the same format and inputs, problem by problem:
calibrated ones, or nearest ones with zero points, where calibration does nothing.

In the model's file weights are 4-bit numbers times a scale plus a minimum, both floats, in blocks of 32
(Q4_1). HQQ's zero points are floats too, so in such blocks it finds them again and loses nothing. Ours are
whole numbers of 4 bits. Formats without zero points are on an equal footing.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from calibrated import Losses, subject
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from scipy import stats
from sequential import rounded_in_order
from table import Row, put
from torch import Tensor, nn

from hwsearch._version import __version__
from hwsearch.compression import WeightBank, WeightCalibration, compress
from hwsearch.compression.rounding.effort import MOST_ROWS
from hwsearch.compression.rounding.linear_inputs import calibration_samples
from hwsearch.compression.swap import swapped
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.caching.folder import CACHE_VARIABLE
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.formats.catalog import format_of
from hwsearch.formats.integer_format import IntegerFormat, RoundedWeight
from hwsearch.formats.linears.simulated_linear import SimulatedLinear
from hwsearch.plan import CompressionPlan, WeightFormat

#: Behind a linear's name: what its inputs are divided by before they are rounded.
DIVISOR = ".divisor"

TABLE = Path(__file__).with_suffix(".csv")
#: What a file of weights says of itself.
ABOUT = ("rounding_s", "versions", "settings")

#: Our own: the format and the rounding.
OURS = {
    "hwsearch-nearest": ("w4", "nearest"),
    "hwsearch-calibrated": ("w4", "calibrated"),
    "hwsearch-asym-nearest": ("w4-asym", "nearest"),
    "hwsearch-g64-asym-nearest": ("w4-g64-asym", "nearest"),
    "hwsearch-w8a8-calibrated": ("w8a8", "calibrated"),
    "hwsearch-sequential": ("w4", "sequential"),
    "hwsearch-sequential-corrected": ("w4", "corrected"),
}

#: What a format's rows are compared with.
BESIDE = {
    "w4": "hwsearch-calibrated",
    "w4-asym": "hwsearch-asym-nearest",
    "w4-g64-asym": "hwsearch-g64-asym-nearest",
    "w8a8": "hwsearch-w8a8-calibrated",
}


def prepare(folder: Path, denoiser: Denoiser, calibration: WeightCalibration) -> None:
    """What the tools need, and those of our own weights that are not there yet."""
    folder.mkdir(parents=True, exist_ok=True)
    samples = calibration_samples(calibration.batches, MOST_ROWS)
    tokens = [sample[0].tolist() for sample in samples]
    (folder / "tokens.json").write_text(json.dumps(tokens))
    _write_model(folder / "model", denoiser)
    print(f"logits differ by {_difference(folder / 'model', denoiser, samples[0]):.1e} at most")
    os.environ[CACHE_VARIABLE] = str(folder / "cache")  # so that rounding is timed, not found
    for name, (fmt, rounding) in OURS.items():
        file = folder / f"{name}.safetensors"
        if file.exists():
            continue
        begin = time.process_time()
        network = _rounded(denoiser, calibration, WeightFormat(fmt), rounding)
        spent = time.process_time() - begin
        settings = "no calibration" if rounding == "nearest" else f"{len(tokens)} sequences"
        about = {"rounding_s": f"{spent:.0f}", "versions": f"hwsearch {__version__}"}
        save_file(_weights(network), file, about | {"settings": settings, "format": fmt})


def _rounded(
    denoiser: Denoiser, calibration: WeightCalibration, fmt: WeightFormat, rounding: str
) -> Network:
    """The network in a format, but for the head; ``sequential`` and ``corrected`` are of this study alone."""
    if rounding in ("sequential", "corrected"):
        form = format_of(fmt)
        assert isinstance(form, IntegerFormat)
        return rounded_in_order(denoiser, calibration, form, corrected=rounding == "corrected")
    plan = CompressionPlan.uniform(denoiser.num_layers, attention=fmt, mlp=fmt, rounding=rounding)
    return compress(denoiser, plan, WeightBank(denoiser, calibration)).network


def _weights(network: Network) -> dict[str, Tensor]:
    """Rounded weights, and what inputs are divided by where they are."""
    found: dict[str, Tensor] = {}
    for path in _linears(network):
        linear = network.get_submodule(path)
        assert isinstance(linear, SimulatedLinear)
        found[f"{path}.weight"] = linear.weight
        if linear.rounded is not None and linear.rounded.scale is not None:
            found[path + DIVISOR] = linear.rounded.scale
    return found


def _write_model(folder: Path, denoiser: Denoiser) -> None:
    """The uncompressed model as Hugging Face's Llama."""
    g = denoiser.geometry
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": g.vocab_size,
        "hidden_size": g.hidden_size,
        "intermediate_size": g.intermediate_size,
        "num_hidden_layers": g.num_layers,
        "num_attention_heads": g.num_heads,
        "num_key_value_heads": g.num_kv_heads,
        "head_dim": g.head_dim,
        "rope_theta": g.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": g.rope_theta},
        "rms_norm_eps": g.rms_norm_eps,
        "hidden_act": "silu",
        "attention_bias": g.qkv_bias,
        "tie_word_embeddings": g.tie_embeddings,
        "max_position_embeddings": 2048,
        "eos_token_id": denoiser.end_token_id,
        "dtype": "float32",
    }
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    denoiser.tokenizer.save(str(folder / "tokenizer.json"))
    weights = denoiser.network.state_dict()
    if g.tie_embeddings:
        del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


@torch.inference_mode()
def _difference(folder: Path, denoiser: Denoiser, tokens: Tensor) -> float:
    """Largest difference of logits between the folder's model and ours."""
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    theirs, ours = model(tokens).logits, denoiser.logits(tokens)
    if denoiser.geometry.logit_shift:  # ours stand where the token is that they tell
        theirs, ours = theirs[:, :-1], ours[:, 1:]
    found = float((theirs - ours).abs().max())
    assert found < 1e-3, f"the model was written wrongly: logits differ by {found}"
    return found


def _linears(network: Network) -> list[str]:
    return [
        p for layer in network.linear_groups().layers for group in layer.values() for p in group
    ]


def network_of(denoiser: Denoiser, file: Path, fmt: str, inputs: str) -> Network:
    """The network with a file's weights."""
    weights = load_file(file)
    names = [name for name in weights if name.endswith(DIVISOR)]
    divisors = {name.removesuffix(DIVISOR): weights.pop(name) for name in names}
    form = format_of(WeightFormat(fmt))
    network = copy.deepcopy(denoiser.network)
    unknown = network.load_state_dict(weights, strict=False).unexpected_keys
    assert not unknown, f"{file}: {unknown} are no weights of the model"
    simulated: dict[str, nn.Module] = {}
    for path in _linears(network):
        weight = weights[f"{path}.weight"]
        most = _most_values(weight, getattr(form, "block", None) or weight.shape[1])
        assert most <= 2**form.bits, f"{file}: {path} has {most} values with one scale"
        divided = RoundedWeight({}, divisors.get(path)).dividing(form.round_inputs)
        simulated[path] = SimulatedLinear(weight, None, divided)
    return network if inputs == "fp32" else swapped(network, simulated)


def _most_values(weight: Tensor, block: int) -> int:
    """The most values that a block takes; those are one that differ in their last places alone."""
    blocks = weight.unflatten(1, (-1, block)).sort(dim=-1).values
    steps = blocks.diff(dim=-1) > 1e-4 * blocks.abs().amax(dim=-1, keepdim=True)
    return int(steps.sum(dim=-1).max()) + 1


def _measured(
    denoiser: Denoiser, file: Path, fmt: str, inputs: str, losses: Sequence[Any]
) -> Losses:
    """Losses by problem; measured once for each file of weights."""
    known = file.with_suffix(f".{inputs}.{len(losses)}.npy")
    if not known.exists() or known.stat().st_mtime < file.stat().st_mtime:
        plain = fmt == "fp32"
        network = denoiser.network if plain else network_of(denoiser, file, fmt, inputs)
        kept = KeptShares.keeping_all(denoiser.num_layers)
        np.save(known, [loss.loss(network, kept) for loss in losses])
    found: Losses = np.load(known)
    return found


def measure(
    folder: Path, denoiser: Denoiser, losses: Sequence[Any], rounded: Sequence[str]
) -> None:
    """Put a row for each file of weights into the table.

    Args:
        folder: of the files.
        denoiser: the uncompressed model.
        losses: one a problem.
        rounded: methods that are measured with rounded inputs, too.
    """
    plain = _measured(denoiser, folder / "model", "fp32", "fp32", losses)
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, "pt") as opened:
            about = opened.metadata()
        fmt, beside = about["format"], folder / f"{BESIDE[about['format']]}.safetensors"
        kinds = ["fp32", *["int8"] * (file.stem in rounded)] if fmt != "w8a8" else ["int8"]
        for inputs in kinds:
            loss, ours = (_measured(denoiser, each, fmt, inputs, losses) for each in (file, beside))
            found = {"method": file.stem, "format": fmt, "inputs": inputs, "problems": len(losses)}
            found |= _interval("added", loss - plain) | _interval("beyond", loss - ours)
            found |= {name: about[name] for name in ABOUT}
            put(TABLE, found, ["method", "inputs"], _order)
            print(found, flush=True)


def _interval(name: str, values: Losses) -> dict[str, object]:
    mean, low, high = values.mean(), 0.0, 0.0
    if values.any():
        low, high = stats.t.interval(0.95, len(values) - 1, mean, stats.sem(values))
    return {name: f"{mean:.4g}", f"{name}_low": f"{low:.4g}", f"{name}_high": f"{high:.4g}"}


def _order(row: Row) -> tuple[str, float]:
    return str(row["inputs"]), float(str(row["added"]))


def main() -> None:
    """Prepare, or measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("step", choices=["prepare", "measure"])
    parser.add_argument("gsm8k")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--problems", type=int, default=64)
    parser.add_argument("--calibration", type=int, default=32, help="problems to calibrate on")
    rounded = "hwsearch-nearest,hwsearch-calibrated,autoround"
    parser.add_argument("--rounded", default=rounded, help="to measure with 8-bit inputs, too")
    options = parser.parse_args()
    options.model = "smollm2"
    torch.set_num_threads(1)
    denoiser, calibration, losses = subject(options)
    if options.step == "prepare":
        prepare(options.folder, denoiser, calibration)
    else:
        measure(options.folder, denoiser, losses, options.rounded.split(","))


if __name__ == "__main__":
    main()
