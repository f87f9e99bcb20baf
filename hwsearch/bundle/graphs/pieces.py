"""The pieces that a denoiser's graphs are put together from, as modules made to be exported.

A piece needs sizes alone: its weights are names, which `hwsearch.bundle.graphs.assembly` joins with what
makes them. Against `hwsearch.denoisers.transformer` a layer fuses q, k and v into one product and gate and up
into another (a group has one format, scales of ``w8a8`` and of blocks belong to single outputs, and the
inputs are shared, so fusing changes no rounding), keeps heads in one matrix instead of transposing
around every operator; and the end answers tokens and confidences rather than logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hwsearch.bundle.graphs.predictions import input_names, predicted
from hwsearch.decoding.backend import GREEDY, Sampling
from hwsearch.decoding.kept import Signal
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.transformer import RMSNorm
from hwsearch.plan import Decoding

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
    """One or more linears of the same inputs as one product, ``[in, out]``.

    Args:
        weight: ``[in, out]``.
        bias: ``[out]``, or None.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    @classmethod
    def of(cls, *linears: nn.Module) -> Projection:
        """Linears side by side, their weights copied."""
        weights = [linear.get_parameter("weight").detach() for linear in linears]
        biases = [linear.bias.detach() for linear in linears if isinstance(linear.bias, Tensor)]
        return cls(torch.cat(weights).t().contiguous(), torch.cat(biases) if biases else None)

    @classmethod
    def bare(cls, inputs: int, outputs: int, bias: bool = False) -> Projection:
        """Sizes alone: memory that nobody writes to takes none."""
        return cls(torch.empty(inputs, outputs), torch.empty(outputs) if bias else None)

    def forward(self, x: Tensor) -> Tensor:
        """Outputs ``[1, rows, out]``."""
        product = x @ self.weight
        return product if self.bias is None else product + self.bias


class Start(nn.Module):
    """Embedding and rotary angles.

    Args:
        geometry: sizes.
        rows: rows of a pass that stand from its start on; None where they stand from 0 on, and are as
            many as there are tokens.
        is_placed: whether positions are told, in place of that.
    """

    def __init__(self, geometry: Geometry, rows: int | None, is_placed: bool) -> None:
        super().__init__()
        self.geometry, self.rows, self.is_placed = geometry, rows, is_placed
        self.embed = nn.Embedding(1, 1)
        self.embed.weight = nn.Parameter(
            torch.empty(geometry.vocab_size, geometry.hidden_size), requires_grad=False
        )

    def forward(self, tokens: Tensor, *place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States ``[1, rows, hidden]``, cosine and sine ``[1, rows, head_dim / 2]``."""
        if self.is_placed:
            (positions,) = place
        elif self.rows is not None:
            positions = place[0] + torch.arange(self.rows)
        else:
            positions = torch.arange(tokens.shape[1])
        size = self.geometry.head_dim
        exponent = torch.arange(0, size, 2, dtype=torch.float32) / size
        angle = positions[None, :, None].float() * self.geometry.rope_theta**-exponent
        return self.embed(tokens), angle.cos(), angle.sin()


class Rows(nn.Module):
    """The block's rows among those that run, and the rows that predict it."""

    def __init__(self, block_length: int, logit_shift: bool) -> None:
        super().__init__()
        self.block_length, self.logit_shift = block_length, logit_shift

    def forward(self, start: Tensor) -> tuple[Tensor, Tensor]:
        """Rows and sources, ``[block]`` each."""
        rows = start + torch.arange(self.block_length)
        # position i is predicted at i - 1; the first position, which has none before it, at itself
        return rows, (rows - 1).clamp(min=0) if self.logit_shift else rows


class Attended(NamedTuple):
    """What attention leaves behind.

    Mixed values and rotated queries ``[1, rows, query_size]``, fresh keys and values
    ``[1, kv_heads, rows, head_dim]``; those of the past stand before them where there is one.
    """

    mixed: Tensor
    key: Tensor
    value: Tensor
    probability: Tensor
    query: Tensor


@dataclass(frozen=True)
class LayerUse:
    """How a graph uses a layer.

    Attributes:
        has_past: whether keys and values of other positions come in.
        hands_out: whether its own go out.
        signal: what it hands out for positions to be chosen by.
        cuts: whether only the rows that predict the block go on behind attention.
    """

    has_past: bool = False
    hands_out: bool = True
    signal: Signal = Signal.NONE
    cuts: bool = False

    @property
    def inputs(self) -> list[str]:
        """Names of the inputs, in order."""
        past = ["past_key", "past_value"] * self.has_past
        block = ["block"] * (self.signal is Signal.QUERY)
        return ["x", "cos", "sin", *past, *block, *["sources"] * self.cuts]

    @property
    def outputs(self) -> list[str]:
        """Names of the outputs, in order."""
        cache = ["key", "value"] * self.hands_out
        return ["y", *cache, *["mass"] * (self.signal is not Signal.NONE)]


class LayerPiece(nn.Module):
    """One transformer layer; its products are called qkv, out, gate_up and down."""

    def __init__(self, geometry: Geometry, use: LayerUse) -> None:
        super().__init__()
        g = self.geometry = geometry
        self.use = use
        self.q_norm = _norm(g.head_dim, g) if g.qk_norm else None
        self.k_norm = _norm(g.head_dim, g) if g.qk_norm else None
        self.input_norm, self.mlp_norm = _norm(g.hidden_size, g), _norm(g.hidden_size, g)
        self.qkv = Projection.bare(g.hidden_size, g.query_size + 2 * g.kv_size, g.qkv_bias)
        self.out = Projection.bare(g.query_size, g.hidden_size)
        self.gate_up = Projection.bare(g.hidden_size, 2 * g.intermediate_size)
        self.down = Projection.bare(g.intermediate_size, g.hidden_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """States ``[1, rows, hidden]``, and what `LayerUse.outputs` names."""
        given = dict(zip(self.use.inputs[3:], rest, strict=True))
        past = (given["past_key"], given["past_value"]) if self.use.has_past else None
        seen = self._attend(self.qkv(self.input_norm(x)), (cos, sin), past)
        mixed = seen.mixed
        if self.use.cuts:
            x, mixed = (part.index_select(1, given["sources"]) for part in (x, mixed))
        x = x + self.out(mixed)
        gate, up = self.gate_up(self.mlp_norm(x)).chunk(2, dim=-1)
        y = x + self.down(F.silu(gate) * up)
        return (y, *self._fresh(seen, past), *self._signal(seen, given))

    def _fresh(self, seen: Attended, past: tuple[Tensor, Tensor] | None) -> Sequence[Tensor]:
        if not self.use.hands_out:
            return ()
        if past is None:
            return seen.key, seen.value
        # the operator hands out the past with what is new behind it
        return [part[:, :, past[0].shape[2] :] for part in (seen.key, seen.value)]

    def _signal(self, seen: Attended, given: dict[str, Tensor]) -> Sequence[Tensor]:
        if self.use.signal is Signal.MASS:
            return (seen.probability.sum(dim=(1, 2)),)
        return (_mean_query(seen, given["block"]),) if self.use.signal is Signal.QUERY else ()

    def _attend(
        self, qkv: Tensor, rope: tuple[Tensor, Tensor], past: tuple[Tensor, Tensor] | None
    ) -> Attended:
        """Attention over the past and the rows themselves."""
        g = self.geometry
        query, key, value = qkv.split([g.query_size, g.kv_size, g.kv_size], dim=-1)
        if self.q_norm is not None and self.k_norm is not None:
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
                qk_matmul_output_mode=_PROBABILITIES if self.use.signal is Signal.MASS else 0,
            ),
            query=query,
        )


@dataclass(frozen=True)
class EndUse:
    """How a graph ends.

    Attributes:
        selects: whether the block's rows are still to be taken from all rows.
        shift: None where a row predicts itself; ``cut`` where its predecessor does and is among the
            rows; ``past`` where the state before the block comes in; ``window`` where it may be either.
    """

    selects: bool
    shift: str | None

    def inputs(self, sampling: Sampling) -> list[str]:
        """Names of the inputs, in order."""
        rows = ["rows"] * self.selects
        start = ["start"] * (self.shift == "window")
        before = ["before"] * (self.shift in ("past", "window"))
        return ["x", *rows, *start, *before, *input_names(sampling)]


class End(nn.Module):
    """Final norm, head (never tied, so that it can have a format), and the choice of tokens."""

    def __init__(self, geometry: Geometry, sampling: Sampling, use: EndUse) -> None:
        super().__init__()
        self.sampling, self.use = sampling, use
        self.norm = _norm(geometry.hidden_size, geometry)
        self.head = Projection.bare(geometry.hidden_size, geometry.vocab_size)

    def forward(self, x: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Predictions of the block, and the state before it where the next pass needs that."""
        given = dict(zip(self.use.inputs(self.sampling)[1:], rest, strict=True))
        if self.use.selects:
            x = x.index_select(1, given["rows"])
        before: list[Tensor] = []
        if self.use.shift == "cut":
            before = [x[:, :1]]
        elif self.use.shift == "past":
            x = torch.cat((given["before"], x[:, :-1]), dim=1)
        elif self.use.shift == "window":
            # the first of the rows that are run is predicted from the state before them
            first = torch.where(given["start"] > 0, x[:, :1], given["before"])
            x, before = torch.cat((first, x[:, 1:]), dim=1), [first]
        hidden = self.norm(x)
        return (*predicted(self.head(hidden), self.sampling, given, hidden), *before)


def _norm(size: int, geometry: Geometry) -> RMSNorm:
    return RMSNorm(size, geometry.rms_norm_eps)


def _mean_query(seen: Attended, rows: Tensor) -> Tensor:
    """Products ``[1, length]`` of keys with the rows' mean query, mean over heads.

    The same as `hwsearch.denoisers.transformer.mean_query`.
    """
    kv_heads, size = seen.key.shape[1], seen.key.shape[3]
    mean = seen.query.index_select(1, rows).mean(dim=1).unflatten(1, (kv_heads, -1, size))
    return (seen.key @ mean.mean(dim=2).unsqueeze(3)).mean(dim=(1, 3))
