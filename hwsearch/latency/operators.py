"""The operators a denoiser's passes are made of: the keys of every latency table.

A pass is a multiset of operators. Which ones, and how many, follows from the model's geometry, the
plan and the workload alone, so the cost of a plan is a sum of table rows and nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from hwsearch.decoding.cache import kept_count
from hwsearch.denoisers.geometry import Geometry
from hwsearch.plan import CompressionPlan, Decoding, LayerPlan, WeightFormat

#: What each kind of operator is, and what its sizes mean.
KINDS = {
    "linear": "rows x in_features times in_features x out_features, in a weight format",
    "attention": "rows queries against in_features keys, out_features wide in all, over heads",
    "attention-mass": "the same, and the probability each key receives",
    "norm": "RMSNorm of rows x in_features",
    "swiglu": "silu(gate) * up on rows x in_features each",
    "rotary": "rotary positions on rows x in_features over heads",
    "predict": "most probable token and its probability from rows x in_features logits",
}


@dataclass(frozen=True, order=True)
class OpKey:
    """One operator at one shape; see `KINDS` for what the sizes mean."""

    kind: str
    rows: int
    in_features: int
    out_features: int = 0
    heads: int = 0
    format: str = "fp32"

    def __str__(self) -> str:
        sizes = f"{self.rows} x {self.in_features}"
        if self.out_features:
            sizes += f" x {self.out_features}"
        return f"{self.kind} {sizes} {self.format}"


@dataclass(frozen=True)
class Workload:
    """What is generated: a prompt of this many tokens, then what `decoding` says, batch 1."""

    prompt_length: int
    decoding: Decoding

    @property
    def length(self) -> int:
        """Positions in all: prompt and generation."""
        return self.prompt_length + self.decoding.gen_length

    @property
    def outside(self) -> int:
        """Positions outside the block: what a layer's cache may hold."""
        return self.length - self.decoding.block_length


def refresh_operators(
    geometry: Geometry, plan: CompressionPlan, kept_shares: Sequence[float], workload: Workload
) -> Counter[OpKey]:
    """Operators of one refresh pass: all positions, and the head on the block's rows."""
    rows = workload.length
    total = _ends(geometry, plan.head, rows, workload.decoding.block_length)
    for layer, share in zip(plan.layers, kept_shares, strict=True):
        total += layer_operators(geometry, layer, rows, rows, want_mass=share < 1.0)
    return total


def step_operators(
    geometry: Geometry, plan: CompressionPlan, kept_shares: Sequence[float], workload: Workload
) -> Counter[OpKey]:
    """Operators of one step pass: the block's rows against each layer's kept positions."""
    rows = workload.decoding.block_length
    total = _ends(geometry, plan.head, rows, rows)
    for layer, share in zip(plan.layers, kept_shares, strict=True):
        keys = kept_count(share, workload.outside) + rows
        total += layer_operators(geometry, layer, rows, keys)
    return total


def layer_operators(
    geometry: Geometry, layer: LayerPlan, rows: int, keys: int, want_mass: bool = False
) -> Counter[OpKey]:
    """Operators of one layer on `rows` rows against `keys` keys."""
    g = geometry
    attention = "attention-mass" if want_mass else "attention"
    qkv = g.query_size + 2 * g.kv_size
    norm = OpKey("norm", rows, g.hidden_size)
    heads = [OpKey("norm", rows * n, g.head_dim) for n in (g.num_heads, g.num_kv_heads)]
    return Counter(
        [
            *(heads if g.qk_norm else ()),
            norm,
            linear(rows, g.hidden_size, qkv, layer.attention),
            OpKey("rotary", rows, g.query_size + g.kv_size, 0, g.num_heads + g.num_kv_heads),
            OpKey(attention, rows, keys, g.query_size, g.num_heads),
            linear(rows, g.query_size, g.hidden_size, layer.attention),
            norm,
            linear(rows, g.hidden_size, 2 * g.intermediate_size, layer.mlp),
            OpKey("swiglu", rows, g.intermediate_size),
            linear(rows, g.intermediate_size, g.hidden_size, layer.mlp),
        ]
    )


def linear(rows: int, in_features: int, out_features: int, weight_format: WeightFormat) -> OpKey:
    """Key of a matrix product in a weight format."""
    return OpKey("linear", rows, in_features, out_features, format=weight_format.value)


def _ends(geometry: Geometry, head: WeightFormat, rows: int, predicted: int) -> Counter[OpKey]:
    return Counter(
        [
            OpKey("norm", rows, geometry.hidden_size),
            linear(predicted, geometry.hidden_size, geometry.vocab_size, head),
            OpKey("predict", predicted, geometry.vocab_size),
        ]
    )
