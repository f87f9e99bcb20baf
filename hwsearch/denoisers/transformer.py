"""The thin transformer: RMSNorm, rotary positions, grouped-query attention, SwiGLU.

Its parameters carry the names of a stock Llama / Qwen2 state dict, so such a checkpoint loads
as it is; its passes are the three a cached masked-diffusion decoder needs:

`Transformer.forward`  logits of every position, bidirectional, nothing cached.
`Transformer.refresh`  a full pass that also hands out each layer's keys, values and attention mass.
`Transformer.step`     one block's rows against each layer's cached, possibly shortened, keys and values.

It is ours, not the stock class, because the stock cache insists on one length for all layers and
per-layer sink thresholds make lengths differ; and because this graph exports with fewer nodes.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from functools import partial
from typing import Final, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsearch.denoisers.activation_cache import Walk
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.large.lockstep import Pass, run_through
from hwsearch.denoisers.network import LinearGroups, Network
from hwsearch.errors import InputError

#: Every row.
ALL: Final = slice(None)


class KeyValue(NamedTuple):
    """One layer's keys (rotated) and values, each ``[batch, kv_heads, length, head_dim]``."""

    key: Tensor
    value: Tensor


class Refreshed(NamedTuple):
    """What a refresh pass leaves behind.

    Attributes:
        hidden: final normed hidden state, ``[batch, length, hidden_size]``, or that of some rows.
        cache: keys and values by layer.
        mass: attention mass received by each position, summed over heads and queries; or its
            product with the mean query of some rows, where that was asked for; ``[batch, length]``
            a layer; None for layers that were not asked for.
    """

    hidden: Tensor
    cache: list[KeyValue]
    mass: list[Tensor | None]


class RMSNorm(nn.Module):
    """Root-mean-square norm with a learned scale."""

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class Attention(nn.Module):
    """Grouped-query attention, in both directions unless `Geometry.causal` is set."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        g = geometry
        self.geometry = g
        self.q_proj = nn.Linear(g.hidden_size, g.query_size, bias=g.qkv_bias)
        self.k_proj = nn.Linear(g.hidden_size, g.kv_size, bias=g.qkv_bias)
        self.v_proj = nn.Linear(g.hidden_size, g.kv_size, bias=g.qkv_bias)
        self.o_proj = nn.Linear(g.query_size, g.hidden_size, bias=False)
        self.q_norm = RMSNorm(g.head_dim, g.rms_norm_eps) if g.qk_norm else nn.Identity()
        self.k_norm = RMSNorm(g.head_dim, g.rms_norm_eps) if g.qk_norm else nn.Identity()

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        past: KeyValue | None,
        want_mass: bool,
        query_rows: slice | None = None,
        rows: slice = ALL,
    ) -> tuple[Tensor, KeyValue, Tensor | None]:
        query, fresh = self.project(x, rope)
        seen = fresh if past is None else KeyValue(*map(_join, past, fresh))
        by_mass = want_mass and query_rows is None
        mixed, mass = attend(query, seen, by_mass, self.geometry.causal)
        if want_mass and query_rows is not None:
            mass = mean_query(query[:, :, query_rows], seen.key)
        return self.o_proj(mixed.transpose(1, 2).flatten(2)[:, rows]), fresh, mass

    def project(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> tuple[Tensor, KeyValue]:
        """Rotated queries ``[batch, heads, length, head_dim]``, and keys and values."""
        g = self.geometry
        query = rotate(self.q_norm(_heads(self.q_proj(x), g.num_heads)), rope)
        key = rotate(self.k_norm(_heads(self.k_proj(x), g.num_kv_heads)), rope)
        return query, KeyValue(key, _heads(self.v_proj(x), g.num_kv_heads))


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        hidden, inner = geometry.hidden_size, geometry.intermediate_size
        self.gate_proj = nn.Linear(hidden, inner, bias=False)
        self.up_proj = nn.Linear(hidden, inner, bias=False)
        self.down_proj = nn.Linear(inner, hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    """One pre-norm transformer layer."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.self_attn = Attention(geometry)
        self.mlp = MLP(geometry)
        self.input_layernorm = RMSNorm(geometry.hidden_size, geometry.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(geometry.hidden_size, geometry.rms_norm_eps)

    def forward(
        self,
        x: Tensor,
        rope: tuple[Tensor, Tensor],
        past: KeyValue | None = None,
        want_mass: bool = False,
        query_rows: slice | None = None,
        rows: slice = ALL,
    ) -> tuple[Tensor, KeyValue, Tensor | None]:
        normed = self.input_layernorm(x)
        mixed, fresh, mass = self.self_attn(normed, rope, past, want_mass, query_rows, rows)
        x = x[:, rows] + mixed
        return x + self.mlp(self.post_attention_layernorm(x)), fresh, mass


def _embedding(rows: int, size: int) -> nn.Embedding:
    """An embedding; on the meta device none is drawn: torch would load its compiler for that, a second."""
    unseen = torch.get_default_device().type == "meta"
    return nn.Embedding(rows, size, _weight=torch.empty(rows, size) if unseen else None)


class Stack(nn.Module):
    """Embedding, layers and final norm: what stock checkpoints keep under ``model.``."""

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.embed_tokens = _embedding(geometry.vocab_size, geometry.hidden_size)
        self.layers = nn.ModuleList(Layer(geometry) for _ in range(geometry.num_layers))
        self.norm = RMSNorm(geometry.hidden_size, geometry.rms_norm_eps)


class Transformer(Network):
    """The whole denoiser network; see the module's docstring for its passes.

    Where `Geometry.logit_shift` is set, the hidden state that predicts position i is that of
    position i - 1: `forward` moves it there, the callers of `refresh` and `step` must.
    """

    def __init__(self, geometry: Geometry) -> None:
        super().__init__()
        self.geometry = geometry
        self.model = Stack(geometry)
        self.lm_head = nn.Linear(geometry.hidden_size, geometry.vocab_size, bias=False)
        if geometry.tie_embeddings:
            self.lm_head.weight = self.model.embed_tokens.weight

    def linear_groups(self) -> LinearGroups:
        """Query, key and value projections of a layer together, the output's; gate and up, down."""
        layers = (f"model.layers.{index}" for index in range(self.geometry.num_layers))
        return LinearGroups(
            tuple(
                {
                    "qkv": tuple(f"{layer}.self_attn.{name}_proj" for name in "qkv"),
                    "out": (f"{layer}.self_attn.o_proj",),
                    "gate_up": tuple(f"{layer}.mlp.{name}_proj" for name in ("gate", "up")),
                    "down": (f"{layer}.mlp.down_proj",),
                }
                for layer in layers
            ),
            head="lm_head",
        )

    def attention_mass(self, tokens: Tensor) -> list[Tensor]:
        """Mass of every layer, ``[batch, length]`` each."""
        found = self.refresh(tokens, frozenset(range(self.geometry.num_layers))).mass
        return [mass for mass in found if mass is not None]

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits ``[batch, length, vocab]`` of tokens ``[batch, length]``."""
        hidden = self.refresh(tokens).hidden
        if self.geometry.logit_shift:
            hidden = torch.cat((hidden[:, :1], hidden[:, :-1]), dim=1)
        return self.lm_head(hidden)

    def refresh(self, tokens: Tensor, mass_layers: frozenset[int] = frozenset()) -> Refreshed:
        """A full pass over tokens ``[batch, length]``, with the attention mass of some layers."""
        return run_through(self.refreshing(tokens, mass_layers))

    def refreshing(
        self,
        tokens: Tensor,
        mass_layers: frozenset[int] = frozenset(),
        walk: Walk | None = None,
        query_rows: slice | None = None,
        positions: Tensor | None = None,
        rows: slice = ALL,
    ) -> Pass[Refreshed]:
        """A full pass over tokens ``[batch, length]``, with the attention mass of some layers.

        Where the tokens are a frozen input, `walk` spares the layers that have run on it before.
        Where `query_rows` are given, keys times the mean query of those rows take the mass's place.
        Where `positions` are given, ``[length]``, tokens stand there, and others are left out.
        Behind the last layer's attention only `rows` go on, and only their states come out.
        """
        if positions is None:
            positions = torch.arange(tokens.shape[1], device=tokens.device)
        x, rope = self.model.embed_tokens(tokens), self._rope(positions)
        cache, masses = [], []
        for index, layer in enumerate(self.model.layers):
            yield layer
            wanted = index in mass_layers
            run = partial(layer, x, rope, want_mass=wanted, query_rows=query_rows)
            mode: Hashable = wanted
            if query_rows is not None:
                mode = query_rows.start, query_rows.stop, wanted
            if rows != ALL and layer is self.model.layers[-1]:
                run, mode = partial(run, rows=rows), (mode, rows.start, rows.stop)
            x, fresh, mass = run() if walk is None else walk(layer, mode, run)
            cache.append(fresh)
            masses.append(mass)
        return Refreshed(self.model.norm(x), cache, masses)

    def step(
        self,
        tokens: Tensor,
        start: Tensor | int,
        past: list[KeyValue],
        walk: Walk | None = None,
        kept: Sequence[object] = (),
    ) -> Tensor:
        """Final hidden state of one block, ``[batch, block, hidden_size]``.

        Args:
            tokens: the block's tokens, ``[batch, block]``.
            start: position of the block's first token in the whole sequence.
            past: each layer's cached keys and values, of the positions outside the block
                that the layer keeps.
            walk: spares layers that have run before, where tokens and cache are frozen; `past` must
                then depend on the layers before it and on the layer's share in `kept` alone.
            kept: by what each layer chose the positions it keeps, for `walk`.

        Raises:
            InputError: as `windowed`.
        """
        positions = torch.arange(tokens.shape[1], device=tokens.device) + start
        return run_through(self.windowed(tokens, positions, past, walk, kept)).hidden

    def windowed(
        self,
        tokens: Tensor,
        positions: Tensor,
        past: list[KeyValue],
        walk: Walk | None = None,
        kept: Sequence[object] = (),
        rows: slice = ALL,
    ) -> Pass[Refreshed]:
        """Some rows against the cache of the others, and their own keys and values.

        Args:
            tokens: of the rows, ``[batch, rows]``.
            positions: theirs in the sequence, ``[rows]``.
            past: as in `step`, of positions that are not run.
            walk: as in `step`.
            kept: as in `step`.
            rows: those of them that go on behind the last layer's attention.

        Raises:
            InputError: the network is causal, and the cache holds positions after the block too.
        """
        if self.geometry.causal:
            raise InputError(
                "an autoregressive model decodes with block_length 1, which needs no cached step; "
                "set block_length = 1 and refresh_interval = 1"
            )
        x, rope = self.model.embed_tokens(tokens), self._rope(positions)
        cache: list[KeyValue] = []
        for index, layer in enumerate(self.model.layers):
            yield layer
            run = partial(layer, x, rope, past=past[index])
            mode: Hashable = kept[index] if kept else None
            if rows != ALL and layer is self.model.layers[-1]:
                run, mode = partial(run, rows=rows), (mode, rows.start, rows.stop)
            x, fresh, _ = run() if walk is None else walk(layer, mode, run)
            cache.append(fresh)
        return Refreshed(self.model.norm(x), cache, [None] * len(cache))

    def rope(self, length: int) -> tuple[Tensor, Tensor]:
        """Cosine and sine of positions from 0 on, for those who run layers one by one."""
        return self._rope(torch.arange(length, device=self.device))

    def _rope(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosine and sine ``[length, head_dim / 2]``; the angle stays in float32."""
        size = self.geometry.head_dim
        exponent = torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size
        angle = positions[:, None].float() * self.geometry.rope_theta**-exponent
        return angle.cos(), angle.sin()


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary position embedding of ``[batch, heads, length, head_dim]``, Llama's half-split form."""
    cos, sin = rope
    first, second = x.float().chunk(2, dim=-1)
    turned = torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)
    return turned.to(x.dtype)


def attend(
    query: Tensor, seen: KeyValue, want_mass: bool, causal: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Attention output ``[batch, heads, queries, head_dim]`` and, if wanted, mass ``[batch, keys]``.

    The mass of a key is the probability it receives, summed over heads and queries
    (arXiv 2602.17664); it needs the probabilities in the open, so it costs the fused kernel.
    """
    grouped = query.shape[1] != seen.key.shape[1]
    if not want_mass:
        return F.scaled_dot_product_attention(
            query, *seen, is_causal=causal, enable_gqa=grouped
        ), None
    if grouped:
        groups = query.shape[1] // seen.key.shape[1]
        seen = KeyValue(*(part.repeat_interleave(groups, dim=1) for part in seen))
    scores = query @ seen.key.transpose(-1, -2) * query.shape[-1] ** -0.5
    if causal:
        scores = scores.masked_fill(torch.ones_like(scores[0, 0]).triu(1).bool(), float("-inf"))
    probability = scores.float().softmax(dim=-1)
    return probability.to(query.dtype) @ seen.value, probability.sum(dim=(1, 2))


def mean_query(query: Tensor, key: Tensor) -> Tensor:
    """Each key's product with the mean query of its heads, ``[batch, keys]`` (arXiv 2508.02558).

    Args:
        query: ``[batch, heads, rows, head_dim]``; the mean is over rows, and over all heads.
        key: ``[batch, kv_heads, keys, head_dim]``.
    """
    mean = query.float().mean(dim=2).unflatten(1, (key.shape[1], -1)).mean(dim=2)
    return torch.einsum("bhd,bhkd->bhk", mean, key.float()).mean(dim=1)


def _heads(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def _join(past: Tensor, fresh: Tensor) -> Tensor:
    return torch.cat((past, fresh), dim=2)
