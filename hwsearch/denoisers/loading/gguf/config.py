"""What the header of a GGUF file says of a model: sizes, tokens with a role, how it is decoded; no torch.

Which keys there are, and what is left out where a model has the usual value, is by llama.cpp's converters
(``conversion/``) and loader (``src/llama-model.cpp``).
"""

from __future__ import annotations

from dataclasses import dataclass

from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.loading.gguf.header import GgufHeader
from hwsearch.denoisers.loading.model_config import (
    DEFAULT_DECODING,
    DEFAULT_TEMPLATE,
    DREAM_DECODING,
    ModelConfig,
    checked_heads,
)

EMBEDDING, OUTPUT = "token_embd.weight", "output.weight"

#: Factors by which Llama 3.1 and later stretch the rotary embedding.
_STRETCHED = "rope_freqs.weight"


@dataclass(frozen=True)
class Architecture:
    """What an architecture of llama.cpp implies.

    Attributes:
        paired: whether rows of queries and keys lie as its rotation pairs them, neighbours together; the
            others lie in halves, as in Hugging Face's files.
        qkv_bias: whether q, k and v have biases.
        shifted: whether logits are those of the position before, unless the file says.
    """

    paired: bool = False
    qkv_bias: bool = False
    shifted: bool = False


#: The architectures that are read, by ``general.architecture``.
ARCHITECTURES = {
    "dream": Architecture(qkv_bias=True, shifted=True),
    "llada": Architecture(paired=True),
    "llama": Architecture(paired=True),
    "qwen2": Architecture(qkv_bias=True),
}


def gguf_config(header: GgufHeader) -> ModelConfig:
    """The meaning of a header.

    A model is read in both directions, whatever ``attention.causal`` says: which of its uses is meant
    is the caller's to say, as for a folder (`hwsearch.denoisers.loading.loader.load_denoiser`).

    Raises:
        CheckpointError: a value is missing, malformed or of an unsupported kind; the message names it.
    """
    fields = header.metadata
    name = architecture_name(header)
    roles = [f"tokenizer.ggml.{role}_token_id" for role in ("eos", "eot", "eom")]
    return ModelConfig(
        family=name,
        geometry=_geometry(header, name),
        mask_token_id=fields.token("tokenizer.ggml.mask_token_id"),
        end_token_ids=tuple(dict.fromkeys(t for role in roles for t in fields.tokens(role))),
        prompt_template=DEFAULT_TEMPLATE,
        decoding=DREAM_DECODING if name == "dream" else DEFAULT_DECODING,
        where=fields.where,
    )


def architecture_name(header: GgufHeader) -> str:
    """One of `ARCHITECTURES`. Raises `CheckpointError` for others."""
    name = header.metadata.get("general.architecture")
    if not isinstance(name, str) or name not in ARCHITECTURES:
        known = ", ".join(sorted(ARCHITECTURES))
        raise header.metadata.error(f"general.architecture {name!r} is not one of {known}")
    return name


def _geometry(header: GgufHeader, name: str) -> Geometry:
    fields, implied = header.metadata, ARCHITECTURES[name]
    _check_tensors(header)
    hidden = fields.integer(f"{name}.embedding_length")
    heads = fields.integer(f"{name}.attention.head_count")
    head_dim = fields.integer(f"{name}.attention.key_length", max(1, hidden // heads))
    only = {
        "attention.value_length": head_dim,
        "rope.dimension_count": head_dim,
        "rope.scaling.type": "none",
        "attention.sliding_window": 0,
        "expert_count": 0,
    }
    fields.only(**{f"{name}.{key}": value for key, value in only.items()})
    geometry = checked_heads(
        Geometry(
            vocab_size=header.tensors[EMBEDDING].shape[0],
            hidden_size=hidden,
            num_layers=fields.integer(f"{name}.block_count"),
            num_heads=heads,
            num_kv_heads=fields.integer(f"{name}.attention.head_count_kv", heads),
            head_dim=head_dim,
            intermediate_size=fields.integer(f"{name}.feed_forward_length"),
            rope_theta=fields.number(f"{name}.rope.freq_base", 10_000.0),
            rms_norm_eps=fields.number(f"{name}.attention.layer_norm_rms_epsilon"),
            qkv_bias=implied.qkv_bias,
            tie_embeddings=OUTPUT not in header.tensors,
            logit_shift=fields.flag("diffusion.shift_logits", implied.shifted),
        ),
        fields,
    )
    _check_sizes(header, geometry)
    return geometry


def _check_tensors(header: GgufHeader) -> None:
    """Raise `CheckpointError` where tensors mean another model, or leave open which."""
    if EMBEDDING not in header.tensors:
        raise header.metadata.error(f"missing tensor {EMBEDDING}")
    if _STRETCHED in header.tensors:
        raise header.metadata.error(
            f"a stretched rotary embedding ({_STRETCHED}) is not supported, as Llama 3.1 and later have it"
        )


def _check_sizes(header: GgufHeader, geometry: Geometry) -> None:
    """Raise `CheckpointError` where metadata and tensors tell different sizes.

    All tensors are checked when they are read. This is for whoever reads no weights.
    """
    layers = {name.split(".")[1] for name in header.tensors if name.startswith("blk.")}
    if len(layers) != geometry.num_layers:
        raise header.metadata.error(
            f"block_count is {geometry.num_layers}, but there are tensors of {len(layers)} layers"
        )
    wanted = {
        EMBEDDING: geometry.vocab_size,
        "blk.0.attn_q.weight": geometry.query_size,
        "blk.0.attn_k.weight": geometry.kv_size,
        "blk.0.ffn_up.weight": geometry.intermediate_size,
    }
    for name, rows in wanted.items():
        shape = (rows, geometry.hidden_size)
        if name in header.tensors and header.tensors[name].shape != shape:
            raise header.metadata.error(
                f"{name} is {list(header.tensors[name].shape)}, but the metadata make it {list(shape)}"
            )
