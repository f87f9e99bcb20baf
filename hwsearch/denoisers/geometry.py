"""The sizes of a transformer, as plain data: all that timing, planning and export need."""

from __future__ import annotations

from dataclasses import dataclass


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
