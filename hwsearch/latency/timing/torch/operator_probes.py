"""One operator in torch, several copies of it with buffers of their own, used in turn."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import torch
from torch import Tensor

from hwsearch.latency.operators import OpKey
from hwsearch.latency.timing.torch import operators as ops
from hwsearch.latency.timing.torch.kernels import input_dtype, linear_kernel

#: Most copies; fewer where they fill twice the cache by themselves.
COPIES = 8

Run = Callable[[], object]


def build_run(key: OpKey, device: torch.device, dtype: torch.dtype = torch.bfloat16) -> Run:
    """An operator to be timed; each call takes the next copy's buffers.

    Args:
        key: the operator.
        device: where it runs.
        dtype: of everything but products, whose format says theirs.

    Raises:
        RuntimeError: torch cannot run it on this device.
    """
    copies = [_BUILDERS[key.kind](key, device, dtype) for _ in range(buffer_copies(key, device))]
    turn = count()

    def run() -> object:
        return copies[next(turn) % len(copies)]()

    with torch.inference_mode():
        run()
    return lambda: _inferred(run)


def buffer_copies(key: OpKey, device: torch.device) -> int:
    """Copies whose weights fill the last cache twice."""
    size = 2 * key.in_features * max(key.out_features, key.rows)
    return max(1, min(COPIES, -(-2 * cache_bytes(device) // size)))


def cache_bytes(device: torch.device) -> int:
    """Size of a GPU's L2 cache; of a processor, a guess."""
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).L2_cache_size)
    return 32 * 2**20


def _inferred(run: Run) -> object:
    with torch.inference_mode():
        return run()


def _linear(key: OpKey, device: torch.device, dtype: torch.dtype) -> Run:
    kernel = linear_kernel(key.format, key.in_features, key.out_features, device)
    x = torch.randn(key.rows, key.in_features, device=device).to(input_dtype(key.format))
    return lambda: kernel(x)


def _attention(key: OpKey, device: torch.device, dtype: torch.dtype) -> Run:
    query, keys, values = _qkv(key, device, dtype)
    return lambda: ops.attention(query, keys, values)


def _attention_mass(key: OpKey, device: torch.device, dtype: torch.dtype) -> Run:
    query, keys, values = _qkv(key, device, dtype)
    return lambda: ops.attention_with_mass(query, keys, values)


def _qkv(key: OpKey, device: torch.device, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    dim, kv_heads = key.out_features // key.heads, key.kv_heads or key.heads
    shapes = ((key.heads, key.rows), *(((kv_heads, key.in_features),) * 2))
    query, keys, values = (
        torch.randn(1, heads, length, dim, device=device, dtype=dtype) for heads, length in shapes
    )
    return query, keys, values


def _mean_query(key: OpKey, device: torch.device, dtype: torch.dtype) -> Run:
    dim, kv_heads = key.out_features // key.heads, key.kv_heads or key.heads
    query, keys = (
        torch.randn(heads, key.in_features, dim, device=device, dtype=dtype)
        for heads in (key.heads, kv_heads)
    )
    return lambda: ops.mean_query_scores(query, keys, key.rows)


def _norm(key: OpKey, device: torch.device, dtype: torch.dtype) -> Run:
    x = torch.randn(key.rows, key.in_features, device=device, dtype=dtype)
    scale = torch.ones(key.in_features, device=device, dtype=dtype)
    return lambda: ops.norm(x, scale)


def _swiglu(key: OpKey, device: torch.device, dtype: torch.dtype) -> Run:
    gate = torch.randn(key.rows, key.in_features, device=device, dtype=dtype)
    up = torch.randn_like(gate)
    return lambda: ops.swiglu(gate, up)


def _rotary(key: OpKey, device: torch.device, dtype: torch.dtype) -> Run:
    dim = key.in_features // key.heads
    x = torch.randn(key.rows, key.heads, dim, device=device, dtype=dtype)
    cos = torch.randn(key.rows, 1, dim, device=device, dtype=dtype)
    return lambda: ops.rotary(x, cos, cos)


def _predict(key: OpKey, device: torch.device, dtype: torch.dtype) -> Run:
    logits = torch.randn(key.rows, key.in_features, device=device, dtype=dtype)
    return lambda: ops.most_probable(logits)


_BUILDERS: dict[str, Callable[[OpKey, torch.device, torch.dtype], Run]] = {
    "linear": _linear,
    "attention": _attention,
    "attention-mass": _attention_mass,
    "mean-query": _mean_query,
    "norm": _norm,
    "swiglu": _swiglu,
    "rotary": _rotary,
    "predict": _predict,
}
