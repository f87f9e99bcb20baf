"""Weights of a model as another tool rounds them; run by the Python of that tool's environment.

    python -m venv hqq && DISABLE_CUDA=1 hqq/bin/pip install torch==2.13.0 hqq==0.2.8.post1
    python -m venv ao && ao/bin/pip install torch==2.13.0 torchao==0.18.0 transformers==5.24.0
    python -m venv llmc && llmc/bin/pip install torch==2.13.0 llmcompressor==0.14.0.1
    python -m venv autoround && autoround/bin/pip install torch==2.13.0 auto-round==0.16.1

    ao/bin/python studies/formats/other_tools_round.py METHOD FOLDER

FOLDER is what ``other_tools.py prepare`` wrote: model/ and tokens.json. Each tool is called as its users call
it, with its own defaults but for bits, blocks and calibration text; what else differs stands in `settings`.
METHOD.safetensors in FOLDER then holds what the numbers of all linears but the head stand for, in float32, by
the names of Hugging Face. Beside them stand the format of ours that they have, `versions`, `settings` and
`rounding_s`, seconds of one thread.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

BITS, BLOCK = 4, 32

#: A special token of code files, which no text to calibrate on holds: what stands behind shorter ones.
PAD = 4

#: Updates of each layer by AutoRound; its own number is 200, that of its light recipe 50.
UPDATES = 50

Weights = dict[str, Tensor]
Method = Callable[[Any, list[list[int]], Path], tuple[Weights, str]]


def hqq(model: Any, tokens: list[list[int]], folder: Path) -> tuple[Weights, str]:
    """HQQ in our blocks; it has a zero point a block, and that is a float."""
    return _hqq(model, BLOCK)


def hqq_g64(model: Any, tokens: list[list[int]], folder: Path) -> tuple[Weights, str]:
    """HQQ in its own blocks, of 64."""
    return _hqq(model, 64)


def _hqq(model: Any, block: int) -> tuple[Weights, str]:
    from hqq.core.quantize import Quantizer

    found = {}
    for path, linear in linears(model):
        codes, meta = Quantizer.quantize(
            linear.weight.data, nbits=BITS, group_size=block, axis=1, device="cpu"
        )
        found[path] = Quantizer.dequantize(codes, meta | {"compute_dtype": torch.float32})
    return found, "axis 1, no calibration"


def torchao_nearest(model: Any, tokens: list[list[int]], folder: Path) -> tuple[Weights, str]:
    """torchao's own rounding to nearest."""
    return _torchao(model, "affine"), "IntxWeightOnlyConfig, affine, no calibration"


def torchao_hqq(model: Any, tokens: list[list[int]], folder: Path) -> tuple[Weights, str]:
    """HQQ without zero points, as torchao has it."""
    return _torchao(model, "hqq_scale_only"), "IntxWeightOnlyConfig, hqq_scale_only, no calibration"


def _torchao(model: Any, algorithm: str) -> Weights:
    from torchao.quantization import IntxWeightOnlyConfig, PerGroup, quantize_

    config = IntxWeightOnlyConfig(
        torch.int4, PerGroup(BLOCK), intx_choose_qparams_algorithm=algorithm
    )
    quantize_(model.model.layers, config)
    return {path: linear.weight.dequantize() for path, linear in linears(model)}


def llmcompressor_gptq(model: Any, tokens: list[list[int]], folder: Path) -> tuple[Weights, str]:
    """GPTQ with the tool's own scales, which reach the largest weight."""
    return _gptq(model, tokens, folder)


def llmcompressor_gptq_clipped(
    model: Any, tokens: list[list[int]], folder: Path
) -> tuple[Weights, str]:
    """GPTQ with scales of least error by what the inputs are, which may cut off the largest weights."""
    return _gptq(model, tokens, folder, "imatrix_mse")


def _gptq(
    model: Any, tokens: list[list[int]], folder: Path, scales: str | None = None
) -> tuple[Weights, str]:
    """Each layer sees what the rounded ones before it make of the text."""
    from compressed_tensors.quantization import QuantizationArgs
    from llmcompressor.modifiers.gptq import GPTQModifier

    weights = QuantizationArgs(
        num_bits=BITS,
        type="int",
        symmetric=True,
        strategy="group",
        group_size=BLOCK,
        observer=scales,
    )
    recipe = GPTQModifier(config_groups=_all_linears(weights), ignore=["lm_head"])
    _oneshot(model, tokens, folder, [recipe])
    settings = (
        f"{len(tokens)} sequences, actorder static, dampening .01, observer {scales or 'min-max'}"
    )
    return {path: linear.weight.data for path, linear in linears(model)}, settings


def llmcompressor_w8a8(model: Any, tokens: list[list[int]], folder: Path) -> tuple[Weights, str]:
    """SmoothQuant, then GPTQ with 8 bits and a scale an output; norms change as well."""
    from compressed_tensors.quantization import QuantizationArgs
    from llmcompressor.modifiers.gptq import GPTQModifier
    from llmcompressor.modifiers.transform.smoothquant import SmoothQuantModifier

    weights = QuantizationArgs(num_bits=8, type="int", symmetric=True, strategy="channel")
    smooth = SmoothQuantModifier(smoothing_strength=0.8)
    recipe = GPTQModifier(config_groups=_all_linears(weights), ignore=["lm_head"])
    _oneshot(model, tokens, folder, [smooth, recipe])
    settings = f"{len(tokens)} sequences, smoothing .8, actorder static, dampening .01"
    norms = [(path, one) for path, one in model.named_modules() if path.endswith("layernorm")]
    return {path: one.weight.data for path, one in [*linears(model), *norms]}, settings


def _all_linears(weights: Any) -> Any:
    from compressed_tensors.quantization import QuantizationScheme

    return {"all": QuantizationScheme(targets=["Linear"], weights=weights)}


def _oneshot(model: Any, tokens: list[list[int]], folder: Path, recipe: Any) -> None:
    from llmcompressor import oneshot

    batches: Any = [
        {"input_ids": row, "attention_mask": torch.ones_like(row)} for row in _rows(tokens)
    ]
    oneshot(
        model=model,
        tokenizer=_tokenizer(folder),
        recipe=recipe,
        dataset=torch.utils.data.DataLoader(batches, batch_size=None),
        num_calibration_samples=len(batches),
        pipeline="sequential",
    )


def autoround(model: Any, tokens: list[list[int]], folder: Path) -> tuple[Weights, str]:
    """AutoRound; each layer sees what the rounded ones before it make of the text."""
    from auto_round import AutoRound

    longest = max(map(len, tokens))
    batches = []
    for row in _rows(tokens):
        mask = nn.functional.pad(torch.ones_like(row), (0, longest - row.shape[1]))
        ids = nn.functional.pad(row, (0, longest - row.shape[1]), value=PAD)
        batches.append({"input_ids": ids, "attention_mask": mask})
    tuned = AutoRound(
        model,
        _tokenizer(folder),
        scheme="W4A16",
        group_size=BLOCK,
        sym=True,
        dataset=batches,
        seqlen=longest,
        nsamples=len(batches),
        iters=UPDATES,
        amp=False,
        device_map="cpu",
        enable_torch_compile=False,
    )
    rounded, _ = tuned.quantize()
    settings = f"{len(tokens)} sequences, {UPDATES} iterations (its default is 200)"
    return {path: linear.weight.data for path, linear in linears(rounded)}, settings


#: How each method rounds, into which format of ours, and what it is made of.
METHODS: dict[str, tuple[Method, str, tuple[str, ...]]] = {
    "torchao-nearest": (torchao_nearest, "w4", ("torchao",)),
    "torchao-hqq": (torchao_hqq, "w4", ("torchao",)),
    "llmcompressor-gptq": (llmcompressor_gptq, "w4", ("llmcompressor", "compressed-tensors")),
    "llmcompressor-gptq-clipped": (
        llmcompressor_gptq_clipped,
        "w4",
        ("llmcompressor", "compressed-tensors"),
    ),
    "autoround": (autoround, "w4", ("auto-round",)),
    "hqq": (hqq, "w4-asym", ("hqq",)),
    "hqq-g64": (hqq_g64, "w4-g64-asym", ("hqq",)),
    "llmcompressor-w8a8": (llmcompressor_w8a8, "w8a8", ("llmcompressor", "compressed-tensors")),
}


def linears(model: Any) -> list[tuple[str, Any]]:
    """Linears of the layers, by path; some tools put their own in place."""
    ends = tuple("qkvo"), ("gate", "up", "down")
    names = tuple(f".{name}_proj" for group in ends for name in group)
    return [(path, one) for path, one in model.named_modules() if path.endswith(names)]


def _rows(tokens: list[list[int]]) -> list[Tensor]:
    return [torch.tensor([row]) for row in tokens]


def _tokenizer(folder: Path) -> PreTrainedTokenizerFast:
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "model" / "tokenizer.json"))
    tokenizer.pad_token = tokenizer.convert_ids_to_tokens(PAD)
    return tokenizer


def main() -> None:
    """Round by a method."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("method", choices=METHODS)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    tokens = json.loads((options.folder / "tokens.json").read_text())
    assert not any(PAD in row for row in tokens), "text to calibrate on holds the padding"
    model = AutoModelForCausalLM.from_pretrained(options.folder / "model", dtype=torch.float32)
    method, fmt, packages = METHODS[options.method]
    begin = time.process_time()
    weights, settings = method(model, tokens, options.folder)
    spent = time.process_time() - begin
    assert len(weights) >= 7 * model.config.num_hidden_layers, "a linear is missing"
    versions = [f"{name} {version(name)}" for name in (*packages, "transformers", "torch")]
    about = {"versions": ", ".join(versions), "settings": settings, "rounding_s": f"{spent:.0f}"}
    about["format"] = fmt
    save_file(
        {f"{path}.weight": value.detach().float().contiguous() for path, value in weights.items()},
        options.folder / f"{options.method}.safetensors",
        about,
    )
    print(options.method, about)


if __name__ == "__main__":
    main()
