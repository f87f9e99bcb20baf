"""The operators of a pass in torch, beside its products: shared by probes and whole models."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention of ``[1, heads, rows, dim]`` over ``[1, kv_heads, keys, dim]``."""
    grouped = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(query, key, value, enable_gqa=grouped)


def attention_with_mass(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
    """The same, and the probability each key receives, ``[1, keys]``."""
    share = query.shape[1] // key.shape[1]
    if share > 1:
        key, value = key.repeat_interleave(share, 1), value.repeat_interleave(share, 1)
    score = query @ key.transpose(2, 3) * query.shape[3] ** -0.5
    probability = score.softmax(dim=-1)
    return probability @ value, probability.sum(dim=(1, 2))


def mean_query_scores(query: Tensor, key: Tensor, rows: int) -> Tensor:
    """Products ``[keys]`` of ``[kv_heads, keys, dim]`` with the mean of rows of ``[heads, keys, dim]``."""
    mean = query[:, :rows].mean(dim=1).unflatten(0, (len(key), -1)).mean(dim=1)
    return (key @ mean[..., None]).mean(dim=(0, 2))


def rotary(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions on ``[rows, heads, dim]``; cos and sin are ``[rows, 1, dim]``."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) * up."""
    return F.silu(gate) * up


def norm(x: Tensor, scale: Tensor) -> Tensor:
    """RMSNorm of ``[rows, features]``."""
    return F.rms_norm(x, (x.shape[-1],), scale, 1e-6)


def most_probable(logits: Tensor) -> tuple[Tensor, Tensor]:
    """Most probable token of each row, and its probability."""
    return logits.argmax(dim=-1), logits.float().softmax(dim=-1).amax(dim=-1)
