"""Tiny random checkpoints in the layouts that real models come in, made from stock classes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from hwsearch.testing.tiny import tiny_tokenizer

VOCAB, HIDDEN, LAYERS, HEADS, INNER = 64, 48, 3, 4, 80

STOCK = {
    "vocab_size": VOCAB,
    "hidden_size": HIDDEN,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": INNER,
    "rms_norm_eps": 1e-5,
    "tie_word_embeddings": False,
}
TOKENS = {"mask_token_id": 0, "eos_token_id": 1}

LLADA_PARTS = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "q_proj",
    "self_attn.k_proj": "k_proj",
    "self_attn.v_proj": "v_proj",
    "self_attn.o_proj": "attn_out",
    "post_attention_layernorm": "ff_norm",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
}


def stock_model(kind: str, kv_heads: int = HEADS, theta: float = 500_000.0, **other: Any):
    """A stock transformers model with random weights, bidirectional, in evaluation mode."""
    import transformers

    config_class = getattr(transformers, f"{kind}Config")
    config = config_class(
        **{**STOCK, **other},
        num_key_value_heads=kv_heads,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
        attn_implementation="sdpa",
    )
    config.is_causal = False
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # norms and biases too: at their initial ones and zeros a swap would go unseen
            scale = 0.3 if weight.dim() == 1 else weight.shape[1] ** -0.5
            weight.copy_(torch.randn_like(weight) * scale + (1.0 if "norm" in name else 0.0))
    return model


def stock_logits(model, tokens: Tensor) -> Tensor:
    """The stock model's logits with every position seeing every other.

    An all-true 4-D mask says so whatever the class makes of `is_causal`.
    """
    batch, length = tokens.shape
    mask = torch.ones(batch, 1, length, length, dtype=torch.bool)
    with torch.inference_mode():
        return model(input_ids=tokens, attention_mask=mask).logits


def write(
    folder: Path, config: dict[str, Any], tensors: dict[str, Tensor], shards: int = 1
) -> Path:
    """A model folder in Hugging Face layout."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tiny_tokenizer(VOCAB).save(str(folder / "tokenizer.json"))
    tensors = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    if shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    where = {}
    names = sorted(tensors)
    for index in range(shards):
        file = f"model-{index + 1:05}-of-{shards:05}.safetensors"
        part = {name: tensors[name] for name in names[index::shards]}
        save_file(part, folder / file)
        where.update(dict.fromkeys(part, file))
    index_file = folder / "model.safetensors.index.json"
    index_file.write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": where}))
    return folder


def stock_config(kind: str, kv_heads: int = HEADS, theta: float = 500_000.0) -> dict[str, Any]:
    """``config.json`` of a Llama, Qwen2, Qwen3 or Dream as it stands on the hub."""
    return {
        "model_type": kind,
        **STOCK,
        **TOKENS,
        "num_key_value_heads": kv_heads,
        "rope_theta": theta,
        "hidden_act": "silu",
    }


def llada_config(theta: float = 500_000.0) -> dict[str, Any]:
    """``config.json`` of a tiny LLaDA, with the fields of the real one."""
    return {
        "model_type": "llada",
        "architectures": ["LLaDAModelLM"],
        "auto_map": {"AutoModelForCausalLM": "modeling_llada.LLaDAModelLM"},
        "block_type": "llama",
        "layer_norm_type": "rms",
        "activation_type": "silu",
        "rope": True,
        "alibi": False,
        "d_model": HIDDEN,
        "n_heads": HEADS,
        "n_kv_heads": HEADS,
        "n_layers": LAYERS,
        "mlp_hidden_size": INNER,
        "mlp_ratio": 4,
        "vocab_size": VOCAB,
        "embedding_size": VOCAB,
        "rope_theta": theta,
        "rms_norm_eps": 1e-5,
        "weight_tying": False,
        "include_bias": False,
        "include_qkv_bias": False,
        "multi_query_attention": None,
        **TOKENS,
    }


def llada_tensors(model) -> dict[str, Tensor]:
    """A stock Llama's tensors under the names LLaDA's files use."""
    ends = {"model.embed_tokens": "wte", "model.norm": "ln_f", "lm_head": "ff_out"}
    renamed = {}
    for name, tensor in model.state_dict().items():
        stem = name.removesuffix(".weight")
        if stem in ends:
            renamed[f"model.transformer.{ends[stem]}.weight"] = tensor
        else:
            _, _, layer, part = stem.split(".", 3)
            renamed[f"model.transformer.blocks.{layer}.{LLADA_PARTS[part]}.weight"] = tensor
    return renamed
