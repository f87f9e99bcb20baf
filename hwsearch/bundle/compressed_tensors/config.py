"""The ``config.json`` and the tokenizer files of a folder."""

from __future__ import annotations

import json
from typing import Any

from tokenizers import Tokenizer

from hwsearch._version import __version__
from hwsearch.bundle.compressed_tensors.schemes import check_blocks, groups_of_targets
from hwsearch.bundle.compressed_tensors.tensors import is_tied
from hwsearch.bundle.linears import formats_of, weight_of
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.loading.special_tokens import SETTINGS, TOKENIZER
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError
from hwsearch.plan import WeightFormat

#: The name that compressed-tensors goes by in configs, and the format of groups with formats of their own.
METHOD, MIXED = "compressed-tensors", "mixed-precision"


def config_of(compressed: CompressedDenoiser, sizes: Geometry) -> dict[str, Any]:
    """The config of a compressed model, in the architecture of transformers that has its tensors.

    Raises:
        PlanError: a format that compressed-tensors does not know.
    """
    denoiser = compressed.denoiser
    kind = _kind_of(sizes)
    told: dict[str, Any] = {
        "architectures": [f"{kind}ForCausalLM"],
        "model_type": kind.lower(),
        "vocab_size": sizes.vocab_size,
        "hidden_size": sizes.hidden_size,
        "num_hidden_layers": sizes.num_layers,
        "num_attention_heads": sizes.num_heads,
        "num_key_value_heads": sizes.num_kv_heads,
        "head_dim": sizes.head_dim,
        "intermediate_size": sizes.intermediate_size,
        "rope_theta": sizes.rope_theta,
        "rope_parameters": {"rope_type": "default", "rope_theta": sizes.rope_theta},
        "rms_norm_eps": sizes.rms_norm_eps,
        "hidden_act": "silu",
        "tie_word_embeddings": is_tied(compressed),
        "torch_dtype": "float32",
        "eos_token_id": denoiser.end_token_id,
    }
    if not sizes.causal:
        told |= {"is_causal": False, "mask_token_id": denoiser.mask_token_id}
    return told | {"quantization_config": _quantization(compressed)}


def check_architecture(denoiser: Denoiser) -> None:
    """Raise `InputError` where no architecture of transformers has a model's tensors."""
    if not isinstance(denoiser.network, Transformer):
        raise InputError(
            f"model {denoiser.name!r} is a module of one's own, and no architecture of transformers; export "
            "it for onnxruntime"
        )


def _kind_of(sizes: Geometry) -> str:
    if sizes.qk_norm:
        return "Qwen3"
    return "Qwen2" if sizes.qkv_bias else "Llama"


def _quantization(compressed: CompressedDenoiser) -> dict[str, Any]:
    targets: dict[WeightFormat, list[str]] = {}
    for path, fmt in formats_of(compressed).items():
        check_blocks(fmt, weight_of(compressed, path).shape[1], path)
        targets.setdefault(fmt, []).append(path)
    groups = groups_of_targets(targets)
    formats = {group["format"] for group in groups.values()}
    return {
        "quant_method": METHOD,
        "quantization_status": "compressed",
        "format": formats.pop() if len(formats) == 1 else MIXED,
        "config_groups": groups,
        "ignore": sorted(targets.get(WeightFormat.FP32, [])),
        "kv_cache_scheme": None,
        "global_compression_ratio": None,
        "producer": f"hwsearch {__version__}",
    }


def tokenizer_files(denoiser: Denoiser) -> dict[str, str]:
    """Texts of the tokenizer's files, by name."""
    tokenizer: Tokenizer = denoiser.tokenizer
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": tokenizer.id_to_token(denoiser.end_token_id),
        "clean_up_tokenization_spaces": False,
    }
    if 0 <= denoiser.mask_token_id < tokenizer.get_vocab_size():
        settings["mask_token"] = tokenizer.id_to_token(denoiser.mask_token_id)
    if denoiser.chat is not None:
        settings |= {**denoiser.chat.tokens, "chat_template": denoiser.chat.source}
    plain = json.loads(tokenizer.to_str())
    return {
        TOKENIZER: json.dumps(plain, ensure_ascii=False),
        SETTINGS: json.dumps(settings, ensure_ascii=False, indent=2) + "\n",
    }
