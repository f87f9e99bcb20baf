"""What a GGUF file says of a model before its weights, by llama.cpp's keys.

Which keys its loader asks for: ``src/llama-model.cpp`` and ``src/llama-arch.cpp`` of llama.cpp.
"""

from __future__ import annotations

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.loading.gguf.config import ARCHITECTURES
from hwsearch.errors import InputError

#: A value as the package ``gguf`` tells its type by.
Value = str | int | float | bool | list[str] | list[int] | list[float]

#: Positions that a runtime makes room for unless it is told; nothing here depends on their number.
CONTEXT = 4096


def architecture_of(denoiser: Denoiser) -> str:
    """The architecture of llama.cpp that computes as the model does.

    Raises:
        InputError: there is none.
    """
    geometry = denoiser.geometry
    for name, implied in ARCHITECTURES.items():
        alike = geometry.qkv_bias == implied.qkv_bias
        masked = name in ("dream", "llada")
        if alike and not geometry.qk_norm and masked is not geometry.causal:
            return name
    raise InputError(
        f"model {denoiser.name!r}: none of llama.cpp's {', '.join(ARCHITECTURES)} is read in its directions "
        "with its biases and norms; export it for onnxruntime"
    )


def metadata_of(denoiser: Denoiser, sizes: Geometry, architecture: str) -> dict[str, Value]:
    """Values by key, but for those of the tokenizer."""
    values: dict[str, Value] = {
        "context_length": CONTEXT,
        "embedding_length": sizes.hidden_size,
        "block_count": sizes.num_layers,
        "feed_forward_length": sizes.intermediate_size,
        "attention.head_count": sizes.num_heads,
        "attention.head_count_kv": sizes.num_kv_heads,
        "attention.key_length": sizes.head_dim,
        "attention.value_length": sizes.head_dim,
        "attention.layer_norm_rms_epsilon": float(sizes.rms_norm_eps),
        "attention.causal": sizes.causal,
        "rope.freq_base": float(sizes.rope_theta),
        "rope.dimension_count": sizes.head_dim,
        "vocab_size": sizes.vocab_size,
    }
    found: dict[str, Value] = {f"{architecture}.{key}": value for key, value in values.items()}
    found["general.name"] = denoiser.name.rstrip("/").rpartition("/")[2]
    if not sizes.causal:
        found["diffusion.shift_logits"] = sizes.logit_shift
        found["tokenizer.ggml.mask_token_id"] = denoiser.mask_token_id
    return found
