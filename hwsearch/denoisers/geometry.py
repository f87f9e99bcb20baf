"""The sizes of a transformer, as plain data: all that timing, planning and export need."""

from __future__ import annotations

from dataclasses import dataclass, replace

from hwsearch.schema import MOST_LAYERS, MOST_WIDTH

#: Channels are kept in multiples of this: what blocks of weights, and vector units, come in.
CHANNELS = 32

#: Largest sizes that any model is believed to have.
MOST_SIZES = {
    "vocab_size": 1 << 24,
    "hidden_size": MOST_WIDTH,
    "num_layers": MOST_LAYERS,
    "num_heads": 1 << 14,
    "num_kv_heads": 1 << 14,
    "head_dim": 1 << 14,
    "intermediate_size": MOST_WIDTH,
}


@dataclass(frozen=True)
class Geometry:
    """Sizes and constants of a Llama-form transformer.

    Attributes:
        vocab_size: rows of the embedding and of the head.
        hidden_size: width of the residual stream.
        num_layers: transformer layers.
        num_heads: query heads.
        num_kv_heads: key / value heads; fewer than `num_heads` means grouped queries.
        head_dim: width of one head.
        intermediate_size: width of the SwiGLU mlp.
        rope_theta: base of the rotary position embedding.
        rms_norm_eps: added to the mean square before the root.
        qkv_bias: whether the q, k and v projections have a bias (Qwen2 and Dream do).
        tie_embeddings: whether the head is the transposed embedding.
        qk_norm: whether each query and key head is normed before rotation (Qwen3 does).
        logit_shift: whether position i is predicted at position i - 1 (Dream does).
        causal: whether a position attends to none after it, as autoregressive models do.
    """

    vocab_size: int
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    rope_theta: float = 10_000.0
    rms_norm_eps: float = 1e-6
    qkv_bias: bool = False
    tie_embeddings: bool = False
    qk_norm: bool = False
    logit_shift: bool = False
    causal: bool = False

    @property
    def query_size(self) -> int:
        """Width of all query heads together."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key (or value) heads together."""
        return self.num_kv_heads * self.head_dim

    def keeping(self, kept_heads: int | None = None, kept_channels: int | None = None) -> Geometry:
        """Sizes of a layer of which heads or channels went.

        Args:
            kept_heads: key / value heads that stay, each with its query heads; None keeps all.
            kept_channels: inner channels of the mlp that stay; None keeps all.
        """
        if kept_heads is None and kept_channels is None:
            return self
        heads = self.num_kv_heads if kept_heads is None else kept_heads
        return replace(
            self,
            num_heads=heads * (self.num_heads // self.num_kv_heads),
            num_kv_heads=heads,
            intermediate_size=self.intermediate_size if kept_channels is None else kept_channels,
        )

    def heads_of(self, share: float) -> int | None:
        """Key / value heads that are nearest to a share of them, at least one; None for all."""
        kept = max(1, int(share * self.num_kv_heads + 0.5))
        return kept if kept < self.num_kv_heads else None

    def channels_of(self, share: float) -> int | None:
        """Inner channels nearest to a share of them, in multiples of `CHANNELS`; None for all."""
        kept = max(CHANNELS, round(share * self.intermediate_size / CHANNELS) * CHANNELS)
        return kept if kept < self.intermediate_size else None


def unbelievable(geometry: Geometry) -> str | None:
    """Why no model has these sizes, which a file may say; None where one may.

    >>> unbelievable(Geometry(64, 32, 2, 4, 3, 8, 64))
    '4 query heads cannot share 3 key heads evenly; the first must be a multiple of the second'
    """
    for name, most in MOST_SIZES.items():
        size = getattr(geometry, name)
        if not 1 <= size <= most:
            return f"{name} must be from 1 to {most:,}, got {size:,}"
    if geometry.head_dim % 2:
        return f"head_dim must be even, since its halves are rotated; got {geometry.head_dim}"
    if geometry.num_heads % geometry.num_kv_heads:
        return (
            f"{geometry.num_heads} query heads cannot share {geometry.num_kv_heads} key heads "
            "evenly; the first must be a multiple of the second"
        )
    return None
