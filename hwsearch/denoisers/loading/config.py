"""What a model's ``config.json``, or the header of its GGUF file, says; no weights and no torch.

Supported are LLaDA (a Llama under other names), Dream (a Qwen2 whose logits are shifted right by
one position) and plain Llama, Qwen2 and Qwen3 checkpoints used bidirectionally. No code that comes
with a model is ever run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hwsearch.denoisers.chat.asking import checked_template
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.loading.gguf.config import gguf_config
from hwsearch.denoisers.loading.gguf.header import read_header
from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.denoisers.loading.model_config import (
    DEFAULT_DECODING,
    DEFAULT_TEMPLATE,
    DREAM_DECODING,
    ModelConfig,
    autoregressive,
    checked_heads,
)
from hwsearch.denoisers.loading.model_files import find_folder, find_gguf
from hwsearch.plan import Decoding
from hwsearch.schema import explain, shown_value


def read_geometry(name_or_path: str | Path) -> Geometry:
    """Sizes of a model from its ``config.json`` or GGUF header alone: no weights, no torch.

    Args:
        name_or_path: a bundled name, a folder, a ``config.json``, a GGUF file or a hub id.

    Raises:
        UnknownNameError: nothing goes by that name.
        CheckpointError: the config is missing, malformed or of an unsupported kind.
    """
    return read_config(name_or_path).geometry


def read_config(name_or_path: str | Path) -> ModelConfig:
    """All that a model's ``config.json`` or GGUF header says. Raises as `read_geometry` does."""
    path = Path(name_or_path)
    if (gguf := find_gguf(name_or_path)) is not None:
        return gguf_config(read_header(gguf))
    if not (path.is_file() and path.suffix == ".json"):
        path = find_folder(name_or_path, ("config.json",)) / "config.json"
    return parse_config(Fields.read(path))


def parse_config(fields: Fields) -> ModelConfig:
    """The meaning of the fields of a ``config.json``. Raises `CheckpointError`."""
    family = str(fields.get("model_type") or "").lower()
    if family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise fields.error(
            f"model_type {shown_value(fields.get('model_type'))} is not one of {known}"
        )
    own = fields.get("hwsearch") or {}
    if not isinstance(own, dict):
        raise fields.error(f"hwsearch must be an object, got {shown_value(own)}")
    config = ModelConfig(
        family=family,
        geometry=FAMILIES[family](fields),
        mask_token_id=fields.token("mask_token_id"),
        end_token_ids=fields.tokens("eos_token_id"),
        prompt_template=_template(own.get("prompt_template", DEFAULT_TEMPLATE), fields),
        decoding=_decoding(own.get("decoding"), fields, family),
        where=fields.where,
        weights=_weights(fields),
        quantisation=_quantisation(fields),
    )
    return autoregressive(config) if Fields(own, fields.where).flag("causal") else config


def _template(template: object, fields: Fields) -> str:
    try:
        return checked_template(template)
    except ValueError as error:
        raise fields.error(f"hwsearch.prompt_template {error}") from error


def _weights(fields: Fields) -> str | None:
    name = fields.get("transformers_weights")
    if name is not None and (not isinstance(name, str) or Path(name).name != name):
        raise fields.error(
            f"transformers_weights must be the name of a file here, got {shown_value(name)}"
        )
    return name


def _quantisation(fields: Fields) -> str | None:
    for name in ("quantization_config", "compression_config"):
        if record := fields.get(name):
            method = record.get("quant_method") if isinstance(record, dict) else None
            return f"{name} {method or shown_value(record)}"
    return None


def _decoding(record: Any, fields: Fields, family: str) -> Decoding:
    if record is None:
        return DREAM_DECODING if family == "dream" else DEFAULT_DECODING
    try:
        return Decoding.model_validate(record)
    except ValidationError as error:
        raise fields.error(f"hwsearch.decoding.{explain(error)}") from error


def _llama(fields: Fields) -> Geometry:
    fields.only(hidden_act="silu", mlp_bias=False, attention_bias=False, use_sliding_window=False)
    hidden, heads = fields.integer("hidden_size"), fields.integer("num_attention_heads")
    return checked_heads(
        Geometry(
            vocab_size=fields.integer("vocab_size"),
            hidden_size=hidden,
            num_layers=fields.integer("num_hidden_layers"),
            num_heads=heads,
            num_kv_heads=fields.integer("num_key_value_heads", heads),
            head_dim=fields.integer("head_dim", hidden // heads),
            intermediate_size=fields.integer("intermediate_size"),
            rope_theta=_rope_theta(fields),
            rms_norm_eps=fields.number("rms_norm_eps", 1e-6),
            tie_embeddings=fields.flag("tie_word_embeddings"),
        ),
        fields,
    )


def _qwen2(fields: Fields) -> Geometry:
    return replace(_llama(fields), qkv_bias=True)


def _qwen3(fields: Fields) -> Geometry:
    # the one family whose head_dim has a default of its own
    geometry = _llama(fields)
    head_dim = fields.integer("head_dim", 128)
    return checked_heads(replace(geometry, qk_norm=True, head_dim=head_dim), fields)


def _dream(fields: Fields) -> Geometry:
    fields.only(use_mrope=False)
    return replace(_qwen2(fields), logit_shift=True)


def _llada(fields: Fields) -> Geometry:
    fields.only(
        block_type="llama",
        layer_norm_type="rms",
        activation_type="silu",
        rope=True,
        alibi=False,
        include_bias=False,
        bias_for_layer_norm=False,
        attention_layer_norm=False,
        input_emb_norm=False,
        scale_logits=False,
    )
    hidden, heads = fields.integer("d_model"), fields.integer("n_heads")
    kv_heads = 1 if fields.get("multi_query_attention") else heads
    return checked_heads(
        Geometry(
            vocab_size=fields.integer("embedding_size", fields.integer("vocab_size", 1)),
            hidden_size=hidden,
            num_layers=fields.integer("n_layers"),
            num_heads=heads,
            num_kv_heads=fields.integer("n_kv_heads", kv_heads),
            head_dim=hidden // heads,
            intermediate_size=fields.integer("mlp_hidden_size"),
            rope_theta=_rope_theta(fields),
            rms_norm_eps=fields.number("rms_norm_eps", 1e-5),
            qkv_bias=fields.flag("include_qkv_bias"),
            tie_embeddings=fields.flag("weight_tying"),
        ),
        fields,
    )


def _rope_theta(fields: Fields) -> float:
    """Base of the rotary embedding, under its present name or its earlier one."""
    nested = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    if not isinstance(nested, dict):
        raise fields.error(f"rope_parameters must be an object, got {shown_value(nested)}")
    kind = nested.get("rope_type", nested.get("type", "default"))
    if kind != "default":
        raise fields.error(f"rope_type {shown_value(kind)} is not supported, only 'default' is")
    inner = Fields({"rope_theta": nested.get("rope_theta")}, fields.where)
    return inner.number("rope_theta", fields.number("rope_theta", 10_000.0))


#: How each ``model_type`` is read.
FAMILIES: dict[str, Callable[[Fields], Geometry]] = {
    "llada": _llada,
    "dream": _dream,
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
}
