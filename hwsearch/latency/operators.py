"""The operators a denoiser's passes are made of: the keys of every latency table.

A pass is a multiset of operators. Which ones, and how many, follows from the model's geometry, the
plan and the workload alone, so the cost of a plan is a sum of table rows and nothing else.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.cache import kept_count
from hwsearch.decoding.kept import KeptPlan, Signal
from hwsearch.decoding.pass_counts import PassCounts
from hwsearch.decoding.passes import PassKind, PassShape
from hwsearch.denoisers.accounting import check_sizes
from hwsearch.denoisers.geometry import Geometry
from hwsearch.latency.phases import Caching
from hwsearch.plan import LINEAR_GROUPS, Decoding, LayerPlan, WeightFormat

#: How often each problem's generation makes the passes of each shape, ``[problems]``.
ShapeCounts = dict[PassShape, NDArray[np.float64]]

#: What each kind of operator is, and what its sizes mean.
KINDS = {
    "linear": "rows x in_features times in_features x out_features, in a weight format",
    "attention": "rows queries against in_features keys, out_features wide in all, over heads",
    "attention-mass": "the same, and the probability each key receives",
    "mean-query": "mean of rows queries, out_features wide, times in_features keys, mean over heads",
    "norm": "RMSNorm of rows x in_features",
    "swiglu": "silu(gate) * up on rows x in_features each",
    "rotary": "rotary positions on rows x in_features over heads",
    "predict": "most probable token and its probability from rows x in_features logits",
}


@dataclass(frozen=True, order=True)
class OpKey:
    """One operator at one shape; see `KINDS` for what the sizes mean.

    Attributes:
        kind: one of `KINDS`.
        rows: rows, or queries.
        in_features: inputs, or keys.
        out_features: outputs; width of all query heads in attention.
        heads: query heads; in ``rotary`` all heads that are rotated.
        format: weight format of a ``linear``.
        kv_heads: key / value heads where queries share them; 0 where every query head has its own.
    """

    kind: str
    rows: int
    in_features: int
    out_features: int = 0
    heads: int = 0
    format: str = "fp32"
    kv_heads: int = 0

    def __str__(self) -> str:
        sizes = f"{self.rows} x {self.in_features}"
        if self.out_features:
            sizes += f" x {self.out_features}"
        if self.kv_heads:
            sizes += f" ({self.kv_heads} of {self.heads} heads keep keys)"
        return f"{self.kind} {sizes} {self.format}"

    @property
    def kv_size(self) -> int:
        """Width of all key (or value) heads of an attention."""
        return self.out_features * (self.kv_heads or self.heads) // max(self.heads, 1)


@dataclass(frozen=True)
class Workload:
    """What is generated: to a prompt of this many tokens what `decoding` says, batch 1.

    Attributes:
        prompt_length: tokens of the prompt.
        decoding: how text is written.
        counted: passes of its generations as they were counted; None where the decoding's schedule
            tells them.
        suffix_length: tokens that are given behind what is written.
    """

    prompt_length: int
    decoding: Decoding
    counted: PassCounts | None = None
    suffix_length: int = 0

    def counting(self, passes: PassCounts) -> Workload:
        """The same text around it, written in counted passes."""
        return replace(self, decoding=passes.decoding, counted=passes)

    @property
    def length(self) -> int:
        """Positions in all: prompt, generation and suffix."""
        return self.prompt_length + self.decoding.gen_length + self.suffix_length

    @property
    def shape_counts(self) -> ShapeCounts:
        """How often each problem's generation makes the passes of each shape, ``[problems]``."""
        return self.passes.by_shape(self.prompt_length, self.suffix_length)

    @property
    def outside(self) -> int:
        """Positions outside the block: what a layer's cache may hold."""
        return self.length - self.decoding.block_length

    @property
    def forecast(self) -> str | None:
        """The method that foresees passes; None where nothing is foreseen."""
        foresees = self.decoding.forecast
        return None if foresees is None else foresees.method

    @cached_property
    def passes(self) -> PassCounts:
        """The passes of a generation. Raises `InputError`: they depend on the text, uncounted."""
        return self.counted or PassCounts.scheduled(self.decoding)

    def counts_by_shape(self, geometry: Geometry) -> ShapeCounts:
        """What passes of a model run, and how often each problem's generation makes them, ``[problems]``.

        An autoregressive model is priced as runtimes decode one, whatever torch does here: a pass over
        the prompt, which gives the first token, then a pass of one row for each further token, against
        the keys and values of all before it. One such pass, of as many keys as there are in the mean,
        stands for all: its attention is linear in them, and nothing else depends on them.
        """
        if not geometry.causal:
            return self.shape_counts
        written = self.passes.array.sum(axis=1)
        keys = self.prompt_length + math.ceil(float(written.mean()) / 2)
        prompt = PassShape(PassKind.REFRESH, self.prompt_length, self.prompt_length, 1)
        found = {prompt: np.ones_like(written)}
        if (written > 1).any():
            found[PassShape(PassKind.STEP, 1, keys, 1)] = written - 1
        return found


def refresh_operators(geometry: Geometry, plan: KeptPlan, workload: Workload) -> Counter[OpKey]:
    """Operators of one refresh pass: all positions, and the head on the block's rows.

    Every refresh of a generation runs the same graph, whatever its phase.

    Raises:
        PlanError: a layer shall keep more heads or channels than there are.
    """
    block = workload.decoding.block_length
    shape = PassShape(PassKind.REFRESH, workload.length, workload.length, block)
    return pass_operators(geometry, plan, shape)


def step_operators(
    geometry: Geometry,
    plan: KeptPlan,
    workload: Workload,
    factor: float = 1.0,
) -> Counter[OpKey]:
    """Operators of one step pass: the block's rows against each layer's kept positions.

    Args:
        geometry: the model's sizes.
        plan: what is done to each layer, and what it keeps.
        workload: what is generated.
        factor: of the kept shares in the step's phase.

    Raises:
        PlanError: as `refresh_operators`.
    """
    block = workload.decoding.block_length
    return pass_operators(
        geometry, plan, PassShape(PassKind.STEP, block, workload.length, block), factor
    )


def pass_operators(
    geometry: Geometry, plan: KeptPlan, shape: PassShape, factor: float = 1.0
) -> Counter[OpKey]:
    """Operators of one pass of any shape; `factor` is of the kept shares in its phase."""
    check_sizes(geometry, plan.plan)
    rows, predicted = shape.rows, shape.predicted
    caching = Caching(plan.kept.signal, ((factor, 1.0),))
    total = ends(geometry, plan.plan.head, predicted)
    for layer, share in plan.layers():
        if shape.kind is PassKind.REFRESH:
            signal = caching.signal_for(share)
            total += layer_operators(geometry, layer, rows, rows, signal, predicted)
        else:
            ((kept, _),) = caching.shares_of(share)
            total += layer_operators(geometry, layer, rows, keys_of(shape, kept))
    return total


def keys_of(shape: PassShape, share: float) -> int:
    """Keys that a pass attends to: its own rows, and the kept share of the cached positions."""
    cached = shape.length - shape.rows
    return shape.rows + (kept_count(share, cached) if cached else 0)


def generation_operators(
    geometry: Geometry, plan: KeptPlan, workload: Workload
) -> tuple[dict[OpKey, float], dict[OpKey, float]]:
    """Operators of all refreshes of a generation, and of all its other passes, in the mean.

    Raises as the passes do.
    """
    refreshes: dict[OpKey, float] = defaultdict(float)
    others: dict[OpKey, float] = defaultdict(float)
    phases = Caching.of(plan.kept, workload.passes.steps_after).phases
    for shape, counts in workload.counts_by_shape(geometry).items():
        is_refresh = shape.kind is PassKind.REFRESH
        total = refreshes if is_refresh else others
        for factor, weight in ((1.0, 1.0),) if is_refresh else phases:
            for key, count in pass_operators(geometry, plan, shape, factor).items():
                total[key] += float(counts.mean()) * weight * count
    return refreshes, others


def layer_operators(
    geometry: Geometry,
    layer: LayerPlan,
    rows: int,
    keys: int,
    signal: Signal = Signal.NONE,
    block: int = 0,
) -> Counter[OpKey]:
    """Operators of one layer with the heads and channels it keeps; arguments as of `mixing`."""
    g = geometry.keeping(layer.kept_heads, layer.kept_channels)
    qkv, out, gate_up, down = (
        group_operators(g, group, getattr(layer, group), rows) for group in LINEAR_GROUPS
    )
    return qkv + out + mixing(g, rows, keys, signal, block) + gate_up + down


def group_operators(geometry: Geometry, group: str, fmt: WeightFormat, rows: int) -> Counter[OpKey]:
    """Of one layer: the product of one of `LINEAR_GROUPS`, and what runs for it alone.

    That is the norm before ``qkv`` and before ``gate_up``, and the SwiGLU behind ``gate_up``.
    """
    g = geometry
    inputs, outputs = {
        "qkv": (g.hidden_size, g.query_size + 2 * g.kv_size),
        "out": (g.query_size, g.hidden_size),
        "gate_up": (g.hidden_size, 2 * g.intermediate_size),
        "down": (g.intermediate_size, g.hidden_size),
    }[group]
    norm = [OpKey("norm", rows, g.hidden_size)] if group in ("qkv", "gate_up") else []
    swiglu = [OpKey("swiglu", rows, g.intermediate_size)] if group == "gate_up" else []
    return Counter([*norm, linear(rows, inputs, outputs, fmt), *swiglu])


def mixing(
    geometry: Geometry, rows: int, keys: int, signal: Signal = Signal.NONE, block: int = 0
) -> Counter[OpKey]:
    """Of one layer: rotation of queries and keys, attention, and what positions are chosen by.

    Args:
        geometry: sizes of the layer.
        rows: queries.
        keys: what they attend to.
        signal: what is handed out beside.
        block: rows whose mean query is compared with the keys, where that is the signal.
    """
    g = geometry
    norms = [OpKey("norm", rows * n, g.head_dim) for n in (g.num_heads, g.num_kv_heads)]
    return Counter(
        [
            *(norms if g.qk_norm else ()),
            OpKey("rotary", rows, g.query_size + g.kv_size, 0, g.num_heads + g.num_kv_heads),
            OpKey(
                "attention-mass" if signal is Signal.MASS else "attention",
                rows,
                keys,
                g.query_size,
                g.num_heads,
                kv_heads=_shared(g),
            ),
            *([mean_query_product(g, block, keys)] if signal is Signal.QUERY else ()),
        ]
    )


def mean_query_product(geometry: Geometry, block: int, keys: int) -> OpKey:
    """Key of the products of all keys with the mean query of a block's rows."""
    g = geometry
    return OpKey("mean-query", block, keys, g.query_size, g.num_heads, kv_heads=_shared(g))


def _shared(geometry: Geometry) -> int:
    """Key / value heads where queries share them, else 0."""
    return 0 if geometry.num_kv_heads == geometry.num_heads else geometry.num_kv_heads


def linear(rows: int, in_features: int, out_features: int, weight_format: WeightFormat) -> OpKey:
    """Key of a matrix product in a weight format."""
    return OpKey("linear", rows, in_features, out_features, format=weight_format.value)


def ends(geometry: Geometry, head: WeightFormat, predicted: int) -> Counter[OpKey]:
    """Beside the layers: the last norm, the head and the choice of tokens, on the block's rows."""
    return Counter(
        [
            OpKey("norm", predicted, geometry.hidden_size),
            linear(predicted, geometry.hidden_size, geometry.vocab_size, head),
            OpKey("predict", predicted, geometry.vocab_size),
        ]
    )
