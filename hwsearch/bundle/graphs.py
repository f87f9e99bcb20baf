"""The two passes of a denoiser as modules made to be exported: the same function, fewer operators.

Against `hwsearch.denoisers.transformer` they fuse q, k and v into one product and gate and up into
another (a group has one format, scales of ``w8a8`` and of blocks belong to single outputs, and the
inputs are shared, so fusing changes no rounding), keep heads in one matrix instead of transposing
around every operator, and answer tokens and confidences rather than logits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsearch.bundle.predictions import input_names, output_names, predicted
from hwsearch.decoding.backend import GREEDY, Sampling
from hwsearch.decoding.kept import Signal
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.transformer import Layer, Transformer
from hwsearch.plan import Decoding
from hwsearch.runtime.state import NEXT

#: Mode of the ONNX operator Attention in which its fourth output is the probabilities.
_PROBABILITIES = 3


@dataclass(frozen=True)
class GraphLayout:
    """What graphs depend on beside the network: traced once for each.

    Attributes:
        block_length: positions that a pass predicts.
        sampling: how tokens are chosen, and what else is told of a prediction.
        is_windowed: whether steps run more rows than the block's, or some of the sequence is left out.
    """

    block_length: int
    sampling: Sampling = GREEDY
    is_windowed: bool = False

    @classmethod
    def of(cls, decoding: Decoding) -> GraphLayout:
        """What a decoding asks for."""
        return cls(decoding.block_length, Sampling.of(decoding), decoding.is_windowed)


class Projection(nn.Module):
    """One or more linears of the same inputs as one product, ``[in, out]``."""

    def __init__(self, *linears: nn.Module) -> None:
        super().__init__()
        weights = [linear.get_parameter("weight").detach() for linear in linears]
        self.weight = nn.Parameter(torch.cat(weights).t().contiguous(), requires_grad=False)
        biases = [linear.bias for linear in linears]
        self.bias = None
        if biases[0] is not None:
            self.bias = nn.Parameter(torch.cat(biases).detach(), requires_grad=False)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        product = x @ self.weight
        return product if self.bias is None else product + self.bias


class Attended(NamedTuple):
    """What attention leaves behind.

    Mixed values and rotated queries ``[1, rows, query_size]``, fresh keys and values
    ``[1, kv_heads, rows, head_dim]``.
    """

    mixed: Tensor
    key: Tensor
    value: Tensor
    probability: Tensor
    query: Tensor


class FusedLayer(nn.Module):
    """One transformer layer; its products are called qkv, out, gate_up and down."""

    def __init__(self, layer: Layer, geometry: Geometry) -> None:
        super().__init__()
        attention, mlp = layer.self_attn, layer.mlp
        self.geometry = geometry
        self.q_norm, self.k_norm = attention.q_norm, attention.k_norm
        self.input_norm, self.mlp_norm = layer.input_layernorm, layer.post_attention_layernorm
        self.qkv = Projection(attention.q_proj, attention.k_proj, attention.v_proj)
        self.out = Projection(attention.o_proj)
        self.gate_up = Projection(mlp.gate_proj, mlp.up_proj)
        self.down = Projection(mlp.down_proj)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        past: tuple[Tensor, Tensor] | None = None,
        want_mass: bool = False,
        rows: Tensor | None = None,
    ) -> tuple[Tensor, Attended]:
        """States ``[1, rows, hidden]`` of all rows, or of those of `rows` alone."""
        seen = self.attend(self.qkv(self.input_norm(x)), rope, past, want_mass)
        mixed = seen.mixed
        if rows is not None:
            x, mixed = x.index_select(1, rows), mixed.index_select(1, rows)
        x = x + self.out(mixed)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up), seen

    def attend(
        self,
        qkv: Tensor,
        rope: tuple[Tensor, Tensor],
        past: tuple[Tensor, Tensor] | None,
        want_mass: bool,
    ) -> Attended:
        """Attention over the past and the rows themselves."""
        g = self.geometry
        query, key, value = qkv.split([g.query_size, g.kv_size, g.kv_size], dim=-1)
        if g.qk_norm:
            query = self.q_norm(query.unflatten(-1, (g.num_heads, g.head_dim))).flatten(-2)
            key = self.k_norm(key.unflatten(-1, (g.num_kv_heads, g.head_dim))).flatten(-2)
        query = torch.onnx.ops.rotary_embedding(query, *rope, num_heads=g.num_heads)
        key = torch.onnx.ops.rotary_embedding(key, *rope, num_heads=g.num_kv_heads)
        past_key, past_value = past or (None, None)
        return Attended(
            *torch.onnx.ops.attention(
                query,
                key,
                value,
                None,
                past_key,
                past_value,
                q_num_heads=g.num_heads,
                kv_num_heads=g.num_kv_heads,
                qk_matmul_output_mode=_PROBABILITIES if want_mass else 0,
            ),
            query=query,
        )


class FusedTransformer(nn.Module):
    """Embedding, fused layers, final norm and head (never tied, so that it can have a format)."""

    def __init__(self, network: Transformer, sampling: Sampling = GREEDY) -> None:
        super().__init__()
        self.geometry = network.geometry
        self.sampling = sampling
        self.embed = network.model.embed_tokens
        self.layers = nn.ModuleList(
            # a layer whose heads were pruned has sizes of its own
            FusedLayer(layer, layer.self_attn.geometry)  # type: ignore[arg-type,union-attr]
            for layer in network.model.layers
        )
        self.norm = network.model.norm
        self.head = Projection(network.lm_head)

    def predict(self, x: Tensor, given: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """Predictions of the block's final hidden states; see `hwsearch.bundle.predictions`."""
        return predicted(self.head(self.norm(x)), self.sampling, given)

    def rope(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine ``[1, rows, head_dim / 2]``."""
        size = self.geometry.head_dim
        exponent = torch.arange(0, size, 2, dtype=torch.float32) / size
        angle = positions[None, :, None].float() * self.geometry.rope_theta**-exponent
        return angle.cos(), angle.sin()

    def cache_names(self) -> list[str]:
        """Keys and values of every layer, in order."""
        return [f"{kind}_{i}" for i in range(len(self.layers)) for kind in ("key", "value")]

    def before_names(self) -> list[str]:
        """The state ``[1, 1, hidden]`` before the block, where it predicts the block's first token."""
        return ["before"] if self.geometry.logit_shift else []


class RefreshGraph(FusedTransformer):
    """All positions; hands out keys, values, and what some layers choose positions by.

    All of `layers` hand out the same `signal`: the attention mass, or the keys' product with the
    block's mean query. Its outputs are called ``mass_<layer>`` either way. A windowed graph is told
    where its tokens stand, since some of the sequence may be left out.
    """

    def __init__(
        self,
        network: Transformer,
        layout: GraphLayout,
        signal_layers: frozenset[int],
        signal: Signal = Signal.MASS,
    ) -> None:
        super().__init__(network, layout.sampling)
        self.layout = layout
        self.signal_layers = signal_layers
        self.signal = signal

    def forward(self, tokens: Tensor, start: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Tokens ``[1, length]``, the block's first position, and what else `input_names` tells."""
        given = dict(zip(self.input_names()[2:], rest, strict=True))
        places = given.get("positions", torch.arange(tokens.shape[1]))
        x, rope = self.embed(tokens), self.rope(places)
        rows = start + torch.arange(self.layout.block_length)
        # position i is predicted at i - 1; the first position, which has none before it, at itself
        sources = (rows - 1).clamp(min=0) if self.geometry.logit_shift else rows
        cache, masses = [], []
        for index, layer in enumerate(self.layers):
            signal = self.signal if index in self.signal_layers else Signal.NONE
            cut = sources if self.layout.is_windowed and layer is self.layers[-1] else None
            x, seen = layer(x, rope, want_mass=signal is Signal.MASS, rows=cut)
            cache += [seen.key, seen.value]
            masses += [seen.probability.sum(dim=(1, 2))] if signal is Signal.MASS else []
            masses += [_mean_query(seen, rows)] if signal is Signal.QUERY else []
        block = x if self.layout.is_windowed else x.index_select(1, sources)
        before = [block[:, :1]] if self.geometry.logit_shift else []
        return (*self.predict(block, given), *cache, *before, *masses)

    def input_names(self) -> list[str]:
        """Names of the inputs, in order."""
        positions = ["positions"] if self.layout.is_windowed else []
        return ["tokens", "start", *positions, *input_names(self.sampling)]

    def output_names(self) -> list[str]:
        """Names of the outputs, in order."""
        masses = [f"mass_{i}" for i in sorted(self.signal_layers)]
        return [
            *output_names(self.sampling), *self.cache_names(), *self.before_names(), *masses
        ]  # fmt: skip


def _mean_query(seen: Attended, rows: Tensor) -> Tensor:
    """Products ``[1, length]`` of keys with the rows' mean query, mean over heads.

    The same as `hwsearch.denoisers.transformer.mean_query`.
    """
    kv_heads, size = seen.key.shape[1], seen.key.shape[3]
    mean = seen.query.index_select(1, rows).mean(dim=1).unflatten(1, (kv_heads, -1, size))
    return (seen.key @ mean.mean(dim=2).unsqueeze(3)).mean(dim=(1, 3))


class StepGraph(FusedTransformer):
    """One block's rows against each layer's kept keys and values."""

    def forward(self, tokens: Tensor, start: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Tokens ``[1, block]``, its first position, and what else `input_names` tells."""
        given = dict(zip(self.input_names()[2:], rest, strict=True))
        past = [given[name] for name in self.cache_names()]
        x = self.embed(tokens)
        rope = self.rope(start + torch.arange(tokens.shape[1]))
        for index, layer in enumerate(self.layers):
            x, _ = layer(x, rope, past=tuple(past[2 * index : 2 * index + 2]))
        if self.geometry.logit_shift:
            x = torch.cat((given["before"], x[:, :-1]), dim=1)
        return self.predict(x, given)

    def input_names(self) -> list[str]:
        """Names of the inputs, in order; keys and values are ``[1, kv_heads, kept, head_dim]``."""
        ends = [*self.before_names(), *input_names(self.sampling)]
        return ["tokens", "start", *self.cache_names(), *ends]

    def output_names(self) -> list[str]:
        """Names of the outputs, in order."""
        return output_names(self.sampling)


class WindowGraph(FusedTransformer):
    """Any rows against the kept keys and values of others; hands out the rows' own."""

    def __init__(self, network: Transformer, layout: GraphLayout) -> None:
        super().__init__(network, layout.sampling)
        self.layout = layout

    def forward(
        self, tokens: Tensor, start: Tensor, positions: Tensor, *rest: Tensor
    ) -> tuple[Tensor, ...]:
        """Tokens ``[1, rows]``, the block's place among them, theirs in the sequence, and the rest."""
        given = dict(zip(self.input_names()[3:], rest, strict=True))
        past = [given[name] for name in self.cache_names()]
        x, rope = self.embed(tokens), self.rope(positions)
        rows = start + torch.arange(self.layout.block_length)
        sources = (rows - 1).clamp(min=0) if self.geometry.logit_shift else rows
        fresh = []
        for index, layer in enumerate(self.layers):
            before = tuple(past[2 * index : 2 * index + 2])
            cut = sources if layer is self.layers[-1] else None
            x, seen = layer(x, rope, past=before, rows=cut)
            # the operator hands out the past with what is new behind it
            fresh += [part[:, :, before[0].shape[2] :] for part in (seen.key, seen.value)]
        if not self.geometry.logit_shift:
            return (*self.predict(x, given), *fresh)
        # the first of the rows that are run is predicted from the state before them
        first = torch.where(start > 0, x[:, :1], given["before"])
        block = torch.cat((first, x[:, 1:]), dim=1)
        return (*self.predict(block, given), *fresh, first)

    def input_names(self) -> list[str]:
        """Names of the inputs, in order."""
        ends = [*self.before_names(), *input_names(self.sampling)]
        return ["tokens", "start", "positions", *self.cache_names(), *ends]

    def output_names(self) -> list[str]:
        """Names of the outputs, in order."""
        names = [*self.cache_names(), *self.before_names()]
        return [*output_names(self.sampling), *(NEXT + name for name in names)]
