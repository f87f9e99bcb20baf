"""A tiny random denoiser: real objects, quick enough for a unit test."""

from __future__ import annotations

from typing import TypedDict, Unpack

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.transformer import Transformer
from hwsearch.plan import Decoding

_SPECIAL = ("<mask>", "<end>", "<unk>")
_WORDS = ("tom", "has", "apples", "and", "buys", "more", "how", "many", "now", "?", ":")


def tiny_tokenizer(vocab_size: int = 64) -> Tokenizer:
    """A word-level tokenizer: three special tokens, a few words, then the whole numbers."""
    fixed = (*_SPECIAL, *_WORDS)
    words = (*fixed, *(str(n) for n in range(vocab_size - len(fixed))))
    vocabulary = {word: i for i, word in enumerate(words)}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return tokenizer


class TinyShape(TypedDict, total=False):
    """Sizes of a tiny transformer that are not the usual ones.

    Attributes:
        layers: 2.
        hidden: 64.
        heads: 2.
        grouped: let all query heads share one key / value head.
        kv_heads: key / value heads otherwise; as many as heads.
        vocab_size: 64.
        tie_embeddings: whether the head is the embedding.
        qkv_bias: whether projections have biases, as Dream's.
        qk_norm: whether queries and keys are normed, as Qwen3's.
        logit_shift: whether logits are those of the position before, as Dream's.
    """

    layers: int
    hidden: int
    heads: int
    grouped: bool
    kv_heads: int | None
    vocab_size: int
    tie_embeddings: bool
    qkv_bias: bool
    qk_norm: bool
    logit_shift: bool


def tiny_geometry(**shape: Unpack[TinyShape]) -> Geometry:
    """Sizes of a tiny transformer; see `TinyShape`."""
    hidden, heads = shape.get("hidden", 64), shape.get("heads", 2)
    return Geometry(
        vocab_size=shape.get("vocab_size", 64),
        hidden_size=hidden,
        num_layers=shape.get("layers", 2),
        num_heads=heads,
        num_kv_heads=shape.get("kv_heads") or (1 if shape.get("grouped") else heads),
        head_dim=hidden // heads,
        intermediate_size=2 * hidden,
        tie_embeddings=shape.get("tie_embeddings", False),
        qkv_bias=shape.get("qkv_bias", False),
        qk_norm=shape.get("qk_norm", False),
        logit_shift=shape.get("logit_shift", False),
    )


def tiny_denoiser(seed: int = 0, *, sharpness: float = 1.0, **shape: Unpack[TinyShape]) -> Denoiser:
    """A denoiser with random weights, the same for the same seed.

    Its weights are large enough that predictions differ between positions and confidences
    spread, so that a test can tell a right answer from a wrong one. (With `tie_embeddings` a
    random model mostly repeats its input.) `sharpness` multiplies the weights of queries and keys:
    above 1 attention is sharp enough to tell masks side by side apart. `shape` is that of
    `tiny_geometry`. The global random state of torch is left as it was.
    """
    geometry = tiny_geometry(**shape)
    network = Transformer(geometry).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for name, weight in network.named_parameters():
        if weight.dim() == 2:
            scale = 2.0 if "lm_head" in name else 1.0
            scale *= sharpness if "q_proj" in name or "k_proj" in name else 1.0
            weight.normal_(std=scale * weight.shape[1] ** -0.5, generator=generator)
        else:
            weight.uniform_(0.5, 1.5, generator=generator)
    return Denoiser(
        name="tiny",
        network=network,
        tokenizer=tiny_tokenizer(geometry.vocab_size),
        mask_token_id=0,
        end_token_id=1,
        prompt_template="{question} :",
        decoding=Decoding(gen_length=8, block_length=4, steps=8, refresh_interval=2),
    )
