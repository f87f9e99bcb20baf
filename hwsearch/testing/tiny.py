"""A tiny random denoiser: real objects, quick enough for a unit test."""

from __future__ import annotations

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


def tiny_geometry(
    *,
    layers: int = 2,
    hidden: int = 64,
    heads: int = 2,
    grouped: bool = False,
    kv_heads: int | None = None,
    vocab_size: int = 64,
    tie_embeddings: bool = False,
    qkv_bias: bool = False,
    qk_norm: bool = False,
    logit_shift: bool = False,
) -> Geometry:
    """Sizes of a tiny transformer; `grouped` lets all query heads share one key / value head.

    `kv_heads` says how many of those there are otherwise.
    """
    return Geometry(
        vocab_size=vocab_size,
        hidden_size=hidden,
        num_layers=layers,
        num_heads=heads,
        num_kv_heads=kv_heads or (1 if grouped else heads),
        head_dim=hidden // heads,
        intermediate_size=2 * hidden,
        tie_embeddings=tie_embeddings,
        qkv_bias=qkv_bias,
        qk_norm=qk_norm,
        logit_shift=logit_shift,
    )


def tiny_denoiser(
    seed: int = 0,
    *,
    layers: int = 2,
    hidden: int = 64,
    heads: int = 2,
    grouped: bool = False,
    kv_heads: int | None = None,
    tie_embeddings: bool = False,
    qkv_bias: bool = False,
    qk_norm: bool = False,
    logit_shift: bool = False,
    sharpness: float = 1.0,
) -> Denoiser:
    """A denoiser with random weights, the same for the same seed.

    Its weights are large enough that predictions differ between positions and confidences
    spread, so that a test can tell a right answer from a wrong one. (With `tie_embeddings` a
    random model mostly repeats its input.) `sharpness` multiplies the weights of queries and keys:
    above 1 attention is sharp enough to tell masks side by side apart. The global random state of
    torch is left as it was.
    """
    geometry = tiny_geometry(
        layers=layers,
        hidden=hidden,
        heads=heads,
        grouped=grouped,
        kv_heads=kv_heads,
        tie_embeddings=tie_embeddings,
        qkv_bias=qkv_bias,
        qk_norm=qk_norm,
        logit_shift=logit_shift,
    )
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
