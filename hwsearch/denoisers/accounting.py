"""Parameters, bytes and arithmetic of a denoiser, from its geometry alone.

>>> from hwsearch.denoisers.geometry import Geometry
>>> llada = Geometry(126464, 4096, 32, 32, 32, 128, 12288, rope_theta=500000.0)
>>> parameters(llada).total
8015581184
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import PlanError
from hwsearch.formats.catalog import format_of
from hwsearch.plan import CompressionPlan, LayerPlan, WeightFormat

if TYPE_CHECKING:
    from hwsearch.denoisers.network import LinearSizes

Matrix = tuple[int, int]


@dataclass(frozen=True)
class Parameters:
    """Parameters by part; `attention` and `mlp` are of one layer.

    Attributes:
        embedding: the token embedding.
        attention: one layer's q, k, v and o projections, biases included.
        mlp: one layer's gate, up and down projections.
        norms: all norms of all layers and the last one.
        head: the output head; 0 where it is the embedding.
        num_layers: layers.
    """

    embedding: int
    attention: int
    mlp: int
    norms: int
    head: int
    num_layers: int

    @property
    def total(self) -> int:
        """Parameters of the whole model."""
        layers = self.num_layers * (self.attention + self.mlp)
        return self.embedding + layers + self.norms + self.head


@dataclass(frozen=True)
class PassFlops:
    """Floating-point operations of one pass; a multiplication and an addition count as two.

    Attributes:
        attention_linear: q, k, v and o projections of all layers.
        attention: scores and their weighted sums, of all layers.
        mlp: gate, up and down projections of all layers.
        head: the output head.
    """

    attention_linear: int
    attention: int
    mlp: int
    head: int

    @property
    def total(self) -> int:
        """Operations of the whole pass."""
        return self.attention_linear + self.attention + self.mlp + self.head


def parameters(geometry: Geometry) -> Parameters:
    """Parameters of a model."""
    g = geometry
    biases = (g.query_size + 2 * g.kv_size) * g.qkv_bias
    norms = g.num_layers * (2 * g.hidden_size + 2 * g.head_dim * g.qk_norm) + g.hidden_size
    return Parameters(
        embedding=g.vocab_size * g.hidden_size,
        attention=_entries(attention_matrices(g)) + biases,
        mlp=_entries(mlp_matrices(g)),
        norms=norms,
        head=0 if g.tie_embeddings else g.vocab_size * g.hidden_size,
        num_layers=g.num_layers,
    )


def attention_matrices(geometry: Geometry) -> list[Matrix]:
    """(out, in) of one layer's q, k, v and o projections."""
    g = geometry
    inward = (g.kv_size, g.hidden_size)
    return [(g.query_size, g.hidden_size), inward, inward, (g.hidden_size, g.query_size)]


def mlp_matrices(geometry: Geometry) -> list[Matrix]:
    """(out, in) of one layer's gate, up and down projections."""
    inner, hidden = geometry.intermediate_size, geometry.hidden_size
    return [(inner, hidden), (inner, hidden), (hidden, inner)]


def group_matrices(geometry: Geometry) -> dict[str, list[Matrix]]:
    """(out, in) of one layer's projections by `hwsearch.plan.LINEAR_GROUPS`."""
    *qkv, out = attention_matrices(geometry)
    *gate_up, down = mlp_matrices(geometry)
    return {"qkv": qkv, "out": [out], "gate_up": gate_up, "down": [down]}


def matrix_bytes(matrix: Matrix, weight_format: WeightFormat) -> int:
    """Bytes of one weight matrix (out, in), scales and zero points included."""
    return format_of(weight_format).matrix_bytes(*matrix)


def check_sizes(geometry: Geometry, plan: CompressionPlan) -> None:
    """Raise `PlanError` if a layer shall keep more heads or channels than there are."""
    most = {"kept_heads": geometry.num_kv_heads, "kept_channels": geometry.intermediate_size}
    for index, layer in enumerate(plan.layers):
        for name, there in most.items():
            kept = getattr(layer, name)
            if kept is not None and kept > there:
                raise PlanError(f"layer {index}: {name} must be at most {there}; got {kept}")


def layer_bytes(geometry: Geometry, layer: LayerPlan) -> int:
    """Bytes of one layer's projections under a plan, biases included and norms left out."""
    g = geometry.keeping(layer.kept_heads, layer.kept_channels)
    total = 4 * (g.query_size + 2 * g.kv_size) * g.qkv_bias
    return total + sum(
        matrix_bytes(matrix, getattr(layer, group))
        for group, matrices in group_matrices(g).items()
        for matrix in matrices
    )


def plan_bytes(geometry: Geometry, plan: CompressionPlan) -> int:
    """Bytes of all weights under a plan, as a bundle stores them. Embedding, biases and norms stay fp32.

    Heads and channels that went are not counted; weights that are zero are: they are stored as the
    others are. A tied head counts again once its format is another than the embedding's. Graphs and
    tokenizer, which a bundle holds too, are not counted.

    Raises:
        PlanError: as `check_sizes`.
    """
    check_sizes(geometry, plan)
    g, count = geometry, parameters(geometry)
    total = 4 * (count.embedding + count.norms)
    total += sum(layer_bytes(g, layer) for layer in plan.layers)
    shared = g.tie_embeddings and plan.head is WeightFormat.FP32
    return total + (0 if shared else matrix_bytes((g.vocab_size, g.hidden_size), plan.head))


def own_bytes(sizes: LinearSizes, plan: CompressionPlan) -> int:
    """Bytes of a network of one's own under a plan: fp32 for all that no plan changes.

    Raises:
        PlanError: as `check_own`.
    """
    check_own(plan)
    total = 4 * sizes.others
    for layer, named in zip(plan.layers, sizes.layers, strict=True):
        for group, matrices in named.items():
            total += sum(matrix_bytes(matrix, layer.format_of(group)) for matrix in matrices)
    if sizes.head is None or (sizes.tied_head and plan.head is WeightFormat.FP32):
        return total
    return total + matrix_bytes(sizes.head, plan.head)


def check_own(plan: CompressionPlan) -> None:
    """Raise `PlanError` if a plan drops heads or channels, which a network of one's own does not tell."""
    for index, layer in enumerate(plan.layers):
        if (layer.kept_heads, layer.kept_channels) != (None, None):
            raise PlanError(
                f"layer {index}: kept_heads and kept_channels need a network in Llama form; prune "
                "single weights by sparsity instead"
            )


def bytes_by_format(geometry: Geometry) -> dict[str, int]:
    """Bytes of the whole model in each format, head included."""
    plans = {
        fmt.value: CompressionPlan.uniform(geometry.num_layers, fmt, fmt, head=fmt)
        for fmt in WeightFormat
    }
    return {name: plan_bytes(geometry, plan) for name, plan in plans.items()}


def pass_flops(geometry: Geometry, rows: int, keys: int, predicted: int) -> PassFlops:
    """Operations of one pass at batch 1.

    Args:
        geometry: sizes of the model.
        rows: positions that run: all of them in a refresh, the block's in a step.
        keys: positions they attend to, themselves included.
        predicted: rows whose logits are computed.
    """
    g = geometry
    each = 2 * rows * g.num_layers
    return PassFlops(
        attention_linear=each * _entries(attention_matrices(g)),
        attention=each * 2 * keys * g.query_size,
        mlp=each * _entries(mlp_matrices(g)),
        head=2 * predicted * g.vocab_size * g.hidden_size,
    )


def layer_work(geometry: Geometry, layer: LayerPlan, rows: int, keys: int) -> int:
    """Operations of one layer with the heads and channels that it keeps, as `work` counts them."""
    g = replace(geometry.keeping(layer.kept_heads, layer.kept_channels), num_layers=1)
    return pass_flops(g, rows, keys, predicted=0).total


def _entries(matrices: list[Matrix]) -> int:
    return sum(rows * columns for rows, columns in matrices)
