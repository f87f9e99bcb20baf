"""Write a checkpoint of random weights in LLaDA's layout: bf16, a shard a layer, as large as you like.

    python studies/scale/make_checkpoint.py --size 8b --out FOLDER       # 16 GB
    python studies/scale/make_checkpoint.py --size 50m --out FOLDER

Sizes are those of LLaDA-8B and smaller ones of the same shape. A folder that is there is gone on with.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from hwsearch.testing.tiny import tiny_tokenizer

#: Hidden size, layers, heads, inner channels and vocabulary. 8b is LLaDA-8B, 0.46b what exporting once
#: took 8.4 GiB for.
SIZES = {
    "50m": (512, 8, 8, 1536, 16_384),
    "0.46b": (1024, 29, 16, 3072, 32_768),
    "1.3b": (2048, 20, 16, 6144, 65_536),
    "8b": (4096, 32, 32, 12_288, 126_464),
}


def main() -> None:
    """Write the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--size", choices=SIZES, required=True)
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    print(write(options.size, options.out))


def write(size: str, folder: Path) -> Path:
    """The folder of a checkpoint."""
    hidden, layers, heads, inner, vocab = SIZES[size]
    folder.mkdir(parents=True, exist_ok=True)
    where: dict[str, str] = {}
    for index, (shard, tensors) in enumerate(shards(hidden, layers, inner, vocab)):
        file = f"model-{shard}.safetensors"
        shapes = dict(tensors)
        where |= dict.fromkeys(shapes, file)
        if not (folder / file).exists():
            generator = torch.Generator().manual_seed(index)
            made = {name: drawn(shape, generator) for name, shape in shapes.items()}
            save_file(made, folder / f"{file}.part")
            (folder / f"{file}.part").rename(folder / file)
    index_file = {"metadata": {"total_size": 0}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index_file))
    (folder / "config.json").write_text(
        json.dumps(config(hidden, layers, heads, inner, vocab), indent=1)
    )
    tiny_tokenizer(vocab).save(str(folder / "tokenizer.json"))
    return folder


def shards(
    hidden: int, layers: int, inner: int, vocab: int
) -> Iterator[tuple[str, list[tuple[str, tuple[int, ...]]]]]:
    """Names and shapes of each file's tensors."""
    root = "model.transformer"
    yield "embedding", [(f"{root}.wte.weight", (vocab, hidden)), (f"{root}.ln_f.weight", (hidden,))]
    yield "head", [(f"{root}.ff_out.weight", (vocab, hidden))]
    square = ("q_proj", "k_proj", "v_proj", "attn_out")
    for layer in range(layers):
        at = f"{root}.blocks.{layer}"
        yield (
            f"layer-{layer:02}",
            [
                *((f"{at}.{name}.weight", (hidden, hidden)) for name in square),
                *((f"{at}.{name}.weight", (inner, hidden)) for name in ("ff_proj", "up_proj")),
                (f"{at}.ff_out.weight", (hidden, inner)),
                *((f"{at}.{name}.weight", (hidden,)) for name in ("attn_norm", "ff_norm")),
            ],
        )


def drawn(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Weights large enough that layers do something, norms near one."""
    if len(shape) == 1:
        return torch.empty(shape).uniform_(0.8, 1.2, generator=generator).to(torch.bfloat16)
    found = torch.empty(shape, dtype=torch.bfloat16)
    step = max(1, (1 << 24) // shape[1])
    for start in range(0, shape[0], step):
        piece = torch.empty(min(step, shape[0] - start), shape[1])
        piece.uniform_(-1.7, 1.7, generator=generator).mul_(shape[1] ** -0.5)
        found[start : start + step] = piece
    return found


def config(hidden: int, layers: int, heads: int, inner: int, vocab: int) -> dict[str, object]:
    """``config.json`` with LLaDA's fields."""
    return {
        "model_type": "llada",
        "architectures": ["LLaDAModelLM"],
        "block_type": "llama",
        "layer_norm_type": "rms",
        "activation_type": "silu",
        "rope": True,
        "alibi": False,
        "d_model": hidden,
        "n_heads": heads,
        "n_kv_heads": heads,
        "n_layers": layers,
        "mlp_hidden_size": inner,
        "vocab_size": vocab,
        "embedding_size": vocab,
        "rope_theta": 500_000.0,
        "rms_norm_eps": 1e-5,
        "weight_tying": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "mask_token_id": 0,
        "eos_token_id": 1,
        "hwsearch": {
            "decoding": {
                "gen_length": 32,
                "block_length": 32,
                "steps": 4,
                "refresh_interval": 2,
            }
        },
    }


if __name__ == "__main__":
    main()
