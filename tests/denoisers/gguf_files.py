"""Tiny GGUF files as llama.cpp's converters write them, made from stock classes by the package gguf."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import pre_tokenizers

from tests.denoisers.checkpoints import VOCAB, llada_config, llada_tensors, stock_config, write

gguf = pytest.importorskip("gguf", reason="GGUF files are written with the package gguf")

Kind = gguf.GGMLQuantizationType

#: Types that the package can write; of the others only blocks can be made up.
WRITTEN = ("F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")

#: Types of 256 numbers a block: where their half-precision scales lie.
K_SCALES = {
    "Q2_K": (80, 82),
    "Q3_K": (108,),
    "Q4_K": (0, 2),
    "Q5_K": (0, 2),
    "Q6_K": (208,),
    "IQ4_XS": (0,),
}

#: The stock class of each architecture, and whether the converter pairs rows of q and k.
STOCK = {
    "llada": ("Llama", True),
    "dream": ("Qwen2", False),
    "llama": ("Llama", True),
    "qwen2": ("Qwen2", False),
}

_OUTSIDE = {"embed_tokens": "token_embd", "norm": "output_norm", "lm_head": "output"}
_LAYER = {
    "input_layernorm": "attn_norm",
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "post_attention_layernorm": "ffn_norm",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}

#: A byte-level vocabulary of 64: three special tokens, letters, digits, and what they merge into.
TOKENS = [
    *("<mask>", "<end>", "<begin>"),
    *sorted(pre_tokenizers.ByteLevel.alphabet())[:42],  # all that is printable below "K"
    *(chr(0x120), "a", "b", "c", "t", "o", "m", "ab", "abc", chr(0x120) + "a"),
]
TOKENS += [f"[PAD{i}]" for i in range(len(TOKENS), VOCAB)]
MERGES = ["a b", "ab c", f"{chr(0x120)} a"]
KINDS = [3] * 3 + [5 if token.startswith("[PAD") else 1 for token in TOKENS[3:]]


def tokenizer_metadata() -> dict[str, Any]:
    """The tokenizer's part of a header."""
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "qwen2",
        "tokenizer.ggml.tokens": TOKENS,
        "tokenizer.ggml.token_type": KINDS,
        "tokenizer.ggml.merges": MERGES,
        "tokenizer.ggml.bos_token_id": 2,
        "tokenizer.ggml.eos_token_id": 1,
        "tokenizer.ggml.mask_token_id": 0,
        "tokenizer.ggml.add_bos_token": False,
    }


def metadata(architecture: str, config: Any) -> dict[str, Any]:
    """What the converter writes of a stock class's config."""
    own = {
        "block_count": config.num_hidden_layers,
        "context_length": 512,
        "embedding_length": config.hidden_size,
        "feed_forward_length": config.intermediate_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.num_key_value_heads,
        "attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "rope.freq_base": config.rope_parameters["rope_theta"],
    }
    if getattr(config, "head_dim", None) is not None:
        own |= {"attention.key_length": config.head_dim, "attention.value_length": config.head_dim}
    if architecture in ("llada", "dream"):
        own["attention.causal"] = False
    found = {f"{architecture}.{key}": value for key, value in own.items()}
    if architecture == "llada":  # Dream's converter leaves it to the default
        found["diffusion.shift_logits"] = False
    return found | tokenizer_metadata()


def arrays(architecture: str, model: torch.nn.Module) -> dict[str, np.ndarray]:
    """A stock model's tensors under GGUF's names, rows of q and k in pairs where those are."""
    config, found = model.config, {}
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for name, tensor in model.state_dict().items():
        *_, part, kind = name.split(".")
        if part == "lm_head" and config.tie_word_embeddings:
            continue
        array = tensor.numpy()
        if part in heads and STOCK[architecture][1]:
            array = paired(array, heads[part])
        stem = _OUTSIDE[part] if part in _OUTSIDE else f"blk.{name.split('.')[2]}.{_LAYER[part]}"
        found[f"{stem}.{kind}"] = np.ascontiguousarray(array)
    return found


def paired(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k in the order of llama.cpp: row i of the second half follows row i of the first."""
    size = len(rows) // heads
    order = [
        head * size + half * size // 2 + i
        for head in range(heads)
        for i in range(size // 2)
        for half in (0, 1)
    ]
    return rows[order]


def quantised(array: np.ndarray, kind: str, seed: int = 0) -> np.ndarray:
    """An array's blocks; random ones of a type that the package cannot write, with small scales."""
    if kind in WRITTEN:
        return gguf.quantize(array, Kind[kind])
    block, size = gguf.GGML_QUANT_SIZES[Kind[kind]]
    rng = np.random.default_rng(seed)
    blocks = rng.integers(0, 256, (*array.shape[:-1], array.shape[-1] // block, size), np.uint8)
    for at in K_SCALES[kind]:
        scale = rng.uniform(1e-5, 1e-4, blocks.shape[:-1]).astype(np.float16)
        blocks[..., at : at + 2] = scale[..., None].view(np.uint8)
    return blocks.reshape(*array.shape[:-1], -1)


def write_file(
    path: Path,
    architecture: str,
    fields: Mapping[str, Any],
    tensors: Mapping[str, np.ndarray],
    kinds: Mapping[str, str] | None = None,
) -> Path:
    """A GGUF file of fields and tensors; `kinds` says of which type blocks are."""
    writer = gguf.GGUFWriter(path, architecture)
    for key, value in fields.items():
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            add = {bool: "bool", int: "uint32", float: "float32", str: "string"}[type(value)]
            getattr(writer, f"add_{add}")(key, value)
    for name, array in tensors.items():
        kind = (kinds or {}).get(name)
        writer.add_tensor(name, array, raw_dtype=None if kind is None else Kind[kind])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def write_model(path: Path, architecture: str, model: torch.nn.Module, **changes: Any) -> Path:
    """A stock model as a GGUF file in float32; fields that are None are left out."""
    fields = metadata(architecture, model.config) | changes
    kept = {key: value for key, value in fields.items() if value is not None}
    return write_file(path, architecture, kept, arrays(architecture, model))


def write_twin(folder: Path, architecture: str, model: torch.nn.Module) -> Path:
    """The same model as a folder of safetensors."""
    config, theta = model.config, model.config.rope_parameters["rope_theta"]
    kv_heads = config.num_key_value_heads
    if architecture == "llada":
        record = llada_config(theta) | {"n_kv_heads": kv_heads}
        return write(folder, record, llada_tensors(model))
    own = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "tie_word_embeddings",
        "head_dim",
    )
    record = stock_config("Dream" if architecture == "dream" else architecture, kv_heads, theta)
    record |= {name: value for name in own if (value := getattr(config, name, None)) is not None}
    return write(folder, record, model.state_dict())
