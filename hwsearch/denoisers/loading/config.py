"""What a model's ``config.json`` says, without its weights and without torch.

Supported are LLaDA (a Llama under other names), Dream (a Qwen2 whose logits are shifted right by
one position) and plain Llama, Qwen2 and Qwen3 checkpoints used bidirectionally. No code that comes
with a model is ever run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.denoisers.loading.model_files import find_folder
from hwsearch.plan import CommitRule, Decoding
from hwsearch.schema import explain

#: Used where a model does not say how it is asked.
DEFAULT_TEMPLATE = "Question: {question}\nAnswer:"

#: LLaDA's own sampler, one token a pass and nothing cached, where a model does not say otherwise.
DEFAULT_DECODING = Decoding(gen_length=256, block_length=32, steps=256, refresh_interval=1)

#: Dream's own: one block, and the rule that its makers evaluate it with.
DREAM_DECODING = Decoding(
    gen_length=256, block_length=256, steps=256, refresh_interval=1, rule=CommitRule.ENTROPY
)


@dataclass(frozen=True)
class ModelConfig:
    """A model before its weights.

    Attributes:
        family: the kind of model, one of `FAMILIES`.
        geometry: its sizes.
        mask_token_id: token for "not written yet"; None where the config does not say.
        end_token_ids: tokens that end an answer, as far as the config says.
        prompt_template: text around ``{question}``.
        decoding: how the model's makers decode it.
        where: the file, for error messages.
        weights: the file of weights that the config names; None where it names none.
        quantisation: how the stored weights are quantised; None where they are plain numbers.
    """

    family: str
    geometry: Geometry
    mask_token_id: int | None
    end_token_ids: tuple[int, ...]
    prompt_template: str
    decoding: Decoding
    where: str
    weights: str | None = None
    quantisation: str | None = None


def read_geometry(name_or_path: str | Path) -> Geometry:
    """Sizes of a model from its ``config.json`` alone: no weights, no torch.

    Args:
        name_or_path: a bundled name, a folder, a ``config.json`` or a hub id.

    Raises:
        UnknownNameError: nothing goes by that name.
        CheckpointError: the config is missing, malformed or of an unsupported kind.
    """
    return read_config(name_or_path).geometry


def read_config(name_or_path: str | Path) -> ModelConfig:
    """All that a model's ``config.json`` says. Raises as `read_geometry` does."""
    path = Path(name_or_path)
    if not (path.is_file() and path.suffix == ".json"):
        path = find_folder(name_or_path, ("config.json",)) / "config.json"
    return parse_config(Fields.read(path))


def parse_config(fields: Fields) -> ModelConfig:
    """The meaning of the fields of a ``config.json``. Raises `CheckpointError`."""
    family = str(fields.get("model_type") or "").lower()
    if family not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise fields.error(f"model_type {fields.get('model_type')!r} is not one of {known}")
    own = fields.get("hwsearch") or {}
    config = ModelConfig(
        family=family,
        geometry=FAMILIES[family](fields),
        mask_token_id=fields.token("mask_token_id"),
        end_token_ids=fields.tokens("eos_token_id"),
        prompt_template=str(own.get("prompt_template", DEFAULT_TEMPLATE)),
        decoding=_decoding(own.get("decoding"), fields, family),
        where=fields.where,
        weights=_weights(fields),
        quantisation=_quantisation(fields),
    )
    return autoregressive(config) if Fields(own, fields.where).flag("causal") else config


def autoregressive(config: ModelConfig) -> ModelConfig:
    """The same model read from left to right: a causal mask, the next token predicted.

    Its sampler is the block-wise one with blocks of one token: what lies to the right is masked,
    and no position sees it.
    """
    return replace(
        config,
        geometry=replace(config.geometry, causal=True, logit_shift=True),
        decoding=Decoding(
            gen_length=config.decoding.gen_length,
            block_length=1,
            steps=config.decoding.gen_length,
            refresh_interval=1,
        ),
    )


def _weights(fields: Fields) -> str | None:
    name = fields.get("transformers_weights")
    if name is not None and (not isinstance(name, str) or Path(name).name != name):
        raise fields.error(f"transformers_weights must be the name of a file here, got {name!r}")
    return name


def _quantisation(fields: Fields) -> str | None:
    for name in ("quantization_config", "compression_config"):
        if record := fields.get(name):
            method = record.get("quant_method") if isinstance(record, dict) else None
            return f"{name} {method or record!r}"
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
    return _checked(
        fields,
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
    )


def _qwen2(fields: Fields) -> Geometry:
    return replace(_llama(fields), qkv_bias=True)


def _qwen3(fields: Fields) -> Geometry:
    # the one family whose head_dim has a default of its own
    geometry = _llama(fields)
    head_dim = fields.integer("head_dim", 128)
    return replace(geometry, qk_norm=True, head_dim=head_dim)


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
    return _checked(
        fields,
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
    )


def _rope_theta(fields: Fields) -> float:
    """Base of the rotary embedding, under its present name or its earlier one."""
    nested = fields.get("rope_parameters") or fields.get("rope_scaling") or {}
    if not isinstance(nested, dict):
        raise fields.error(f"rope_parameters must be an object, got {nested!r}")
    kind = nested.get("rope_type", nested.get("type", "default"))
    if kind != "default":
        raise fields.error(f"rope_type {kind!r} is not supported, only 'default' is")
    inner = Fields({"rope_theta": nested.get("rope_theta")}, fields.where)
    return inner.number("rope_theta", fields.number("rope_theta", 10_000.0))


def _checked(fields: Fields, geometry: Geometry) -> Geometry:
    if geometry.num_heads % geometry.num_kv_heads:
        raise fields.error(
            f"{geometry.num_heads} query heads cannot share {geometry.num_kv_heads} key heads "
            "evenly; the first must be a multiple of the second"
        )
    return geometry


#: How each ``model_type`` is read.
FAMILIES: dict[str, Callable[[Fields], Geometry]] = {
    "llada": _llada,
    "dream": _dream,
    "llama": _llama,
    "qwen2": _qwen2,
    "qwen3": _qwen3,
}
