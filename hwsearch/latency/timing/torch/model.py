"""A whole model of random weights in torch, each part in its plan's format: what sums are held against."""

from __future__ import annotations

import torch
from torch import Tensor

from hwsearch.decoding.cache import kept_count
from hwsearch.decoding.kept import KeptPlan
from hwsearch.denoisers.geometry import Geometry
from hwsearch.latency.operators import Workload
from hwsearch.latency.timing.torch import operators as ops
from hwsearch.latency.timing.torch.kernels import Linear, input_dtype, linear_kernel
from hwsearch.plan import LayerPlan, WeightFormat


class RandomLayer:
    """One layer: fused q, k, v; attention; output; fused gate and up; down."""

    def __init__(self, g: Geometry, plan: LayerPlan, device: torch.device) -> None:
        def linear(fmt: WeightFormat, inner: int, outer: int) -> Linear:
            return linear_kernel(fmt.value, inner, outer, device)

        self.geometry, self.plan = g, plan
        self.qkv = linear(plan.qkv, g.hidden_size, g.query_size + 2 * g.kv_size)
        self.out = linear(plan.out, g.query_size, g.hidden_size)
        self.gate_up = linear(plan.gate_up, g.hidden_size, 2 * g.intermediate_size)
        self.down = linear(plan.down, g.intermediate_size, g.hidden_size)
        self.scale = torch.ones(g.hidden_size, device=device, dtype=_dtype(plan.qkv))

    def __call__(self, x: Tensor, rope: Tensor, past: Tensor | None, want_mass: bool) -> Tensor:
        """Rows ``[rows, hidden]`` after the layer; `past` is ``[2, 1, kv_heads, kept, dim]``."""
        g, rows = self.geometry, len(x)
        turned, value = self.qkv(ops.norm(x, self.scale)).split(
            [g.query_size + g.kv_size, g.kv_size], dim=-1
        )
        heads = turned.reshape(rows, g.num_heads + g.num_kv_heads, g.head_dim)
        if g.qk_norm:
            heads = ops.norm(heads, self.scale[: g.head_dim])
        heads = ops.rotary(heads, rope, rope).transpose(0, 1)[None]
        query, key = heads.split([g.num_heads, g.num_kv_heads], dim=1)
        value = value.reshape(rows, g.num_kv_heads, g.head_dim).transpose(0, 1)[None]
        if past is not None:
            key, value = torch.cat((past[0], key), dim=2), torch.cat((past[1], value), dim=2)
        attend = ops.attention_with_mass if want_mass else ops.attention
        mixed = attend(query, key, value)
        mixed = mixed[0] if isinstance(mixed, tuple) else mixed
        x = x + self.out(mixed[0].transpose(0, 1).reshape(rows, g.query_size))
        gate, up = self.gate_up(ops.norm(x, self.scale)).chunk(2, dim=-1)
        return x + self.down(ops.swiglu(gate, up))


class RandomModel:
    """Refresh and step passes of a plan.

    Args:
        geometry: the model's sizes.
        plan: a format for every part, and what each layer keeps; fp32 everywhere or nowhere, since
            the rest has its type.
        workload: what is generated.
        device: where it runs.
    """

    def __init__(
        self,
        geometry: Geometry,
        plan: KeptPlan,
        workload: Workload,
        device: torch.device,
    ) -> None:
        self.geometry, self.workload, self.shares = geometry, workload, plan.kept.shares
        self.layers = [RandomLayer(geometry, layer, device) for layer in plan.plan.layers]
        self.head = linear_kernel(
            plan.plan.head.value, geometry.hidden_size, geometry.vocab_size, device
        )
        dtype = _dtype(plan.plan.head)
        self.embedding = torch.randn(
            geometry.vocab_size, geometry.hidden_size, device=device, dtype=dtype
        )
        self.rope = torch.randn(workload.length, 1, geometry.head_dim, device=device, dtype=dtype)
        self.past = [self._past(share, dtype, device) for share in self.shares]
        self.tokens = torch.randint(geometry.vocab_size, (workload.length,), device=device)

    def refresh(self) -> object:
        """All positions; logits of the block's rows."""
        return self._run(self.workload.length, cached=False)

    def step(self) -> object:
        """The block's rows against the cache."""
        return self._run(self.workload.decoding.block_length, cached=True)

    def _run(self, rows: int, cached: bool) -> object:
        with torch.inference_mode():
            x, rope = self.embedding[self.tokens[:rows]], self.rope[:rows]
            for layer, share, past in zip(self.layers, self.shares, self.past, strict=True):
                x = layer(x, rope, past if cached else None, share < 1.0 and not cached)
            block = x[-self.workload.decoding.block_length :]
            return ops.most_probable(self.head(ops.norm(block, self.layers[-1].scale)))

    def _past(self, share: float, dtype: torch.dtype, device: torch.device) -> Tensor:
        g, kept = self.geometry, kept_count(share, self.workload.outside)
        return torch.randn(2, 1, g.num_kv_heads, kept, g.head_dim, dtype=dtype, device=device)


def _dtype(fmt: WeightFormat) -> torch.dtype:
    return input_dtype(fmt.value)
