"""Readers of a model's files: a folder as the hub has it, and GGUF."""

from __future__ import annotations

import json
import shutil

from tests.hardening import forms, mutators
from tests.hardening.places import Place, Reader, seed, text

ASKED = "tom has 3 apples"

SETTINGS = {
    "bos_token": "<s>", "eos_token": {"content": "</s>", "lstrip": False}, "model_max_length": 512,
    "added_tokens_decoder": {"40": {"content": "<s>", "special": True}},
    "additional_special_tokens": ["<x>"],
    "chat_template": "{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}{% endfor %}",
}  # fmt: skip

TEMPLATE = """{%- set n = namespace(last='') -%}
{%- for m in messages -%}
{%- if m.role == 'user' and not loop.last %}<u>{{ m.content | trim }}{% else %}<{{ m.role }}>
{{- m['content'] ~ '</>' * 2 }}{% set n.last = m.role %}{% endif %}
{%- endfor %}{{ bos_token }}{% if add_generation_prompt %}<a>{{ [1, 2, 3] | join(',') }}{% endif %}
"""


def _make_model(folder):
    from safetensors.torch import save_file

    from hwsearch.testing.tiny import tiny_denoiser

    denoiser = tiny_denoiser()
    sizes = denoiser.geometry
    config = {
        "model_type": "llama", "vocab_size": sizes.vocab_size, "hidden_size": sizes.hidden_size,
        "num_hidden_layers": sizes.num_layers, "num_attention_heads": sizes.num_heads,
        "num_key_value_heads": sizes.num_kv_heads, "head_dim": sizes.head_dim,
        "intermediate_size": sizes.intermediate_size, "rope_theta": 10000.0, "rms_norm_eps": 1e-6,
        "mask_token_id": denoiser.mask_token_id, "eos_token_id": [denoiser.end_token_id],
        "tie_word_embeddings": False,
        "hwsearch": {
            "prompt_template": "Q: {question}\nA:",
            "decoding": {"gen_length": 8, "block_length": 4, "steps": 8, "refresh_interval": 4},
        },
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    weights = {
        name: tensor.contiguous().clone() for name, tensor in denoiser.network.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors")
    denoiser.tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(SETTINGS, indent=1))
    (folder / "generation_config.json").write_text(
        json.dumps({"eos_token_id": [1, 2], "mask_token_id": 3})
    )
    index = {
        "metadata": {"total_size": 1},
        "weight_map": dict.fromkeys(weights, "part.safetensors"),
    }
    (folder / "index.json").write_text(json.dumps(index))


def _model(name, indexed=False):
    def place(folder):
        shutil.copytree(seed("model", _make_model), folder / "model")
        if indexed:
            (folder / "model" / "index.json").rename(folder / "model" / name)
            (folder / "model" / "model.safetensors").rename(folder / "model" / "part.safetensors")
        return Place(folder / "model" / name, folder / "model")

    return place


def _beside(name, content, **settings):
    """A further file of a model's folder, which counts by what the settings hold."""

    def place(folder):
        shutil.copytree(seed("model", _make_model), folder / "model")
        (folder / "model" / "tokenizer_config.json").write_text(json.dumps(settings))
        inner = text(name, content)(folder / "model")
        return Place(inner.path, folder / "model")

    return place


def _byte_level(name):
    """A tokenizer of ``vocab.json`` and ``merges.txt``, as Dream's is."""

    def place(folder):
        from tokenizers.pre_tokenizers import ByteLevel

        shutil.copytree(seed("model", _make_model), folder / "model")
        inner = folder / "model"
        (inner / "tokenizer.json").unlink()
        letters = sorted(ByteLevel.alphabet())
        words = {word: n for n, word in enumerate([*letters, "to", "Ġh", "as"])}
        (inner / "vocab.json").write_text(json.dumps(words))
        (inner / "merges.txt").write_text("#version: 0.2\nt o\nĠ h\na s\n")
        (inner / "tokenizer_config.json").write_text('{"tokenizer_class": "Qwen2Tokenizer"}')
        return Place(inner / name, inner)

    return place


def _read_config(folder):
    from hwsearch.denoisers.loading.config import read_config

    return read_config(folder)


def _read_model_files(folder):
    from hwsearch.denoisers.loading.model_folder import read_model_folder

    found = read_model_folder(folder)
    return None if found.chat is None else found.chat.ask(ASKED)


def _read_tokenizer(folder):
    from hwsearch.denoisers.chat.asking import encoded
    from hwsearch.denoisers.loading.tokenizer import read_tokenizer

    return encoded(read_tokenizer(folder), ASKED)


def _read_chat(folder):
    from hwsearch.denoisers.chat.template import read_chat_template

    found = read_chat_template(folder)
    return None if found is None else found.ask(ASKED)


def _read_weights(folder):
    import torch

    from hwsearch.denoisers.loading.checkpoint import read_tensors, weight_files

    return read_tensors(weight_files(folder), "llama", (), torch.float32, torch.device("cpu"))


def _predict_sizes(path):
    """What `hwsearch predict --model config.json` and `inspect` make of sizes alone."""
    from hwsearch.denoisers.accounting import plan_bytes
    from hwsearch.jobs.predicted_model import subject_of
    from hwsearch.latency.devices.device import load_device
    from hwsearch.plan import CompressionPlan
    from tests.hardening.places import ROOT

    subject = subject_of(str(path))
    plan = CompressionPlan.uniform(subject.geometry.num_layers, "w8", "w8", head="w8")
    plan_bytes(subject.geometry, plan)
    kept = subject.keep(plan)
    device = load_device(ROOT / "latency_tables" / "apple-m2")
    return subject.predictor_for(device, kept).predict(kept)


def _make_gguf(folder):
    from hwsearch.bundle.gguf import export_gguf
    from hwsearch.compression import compress
    from hwsearch.plan import CompressionPlan
    from tests.bundle.gguf.test_tokenizer import byte_level, denoiser_of

    denoiser = denoiser_of(byte_level("gpt-2"))
    plan = CompressionPlan.uniform(denoiser.num_layers, "fp16", "fp16", head="fp16")
    written = export_gguf(compress(denoiser, plan), folder / "out")
    shutil.copy(written, folder / "model.gguf")


def _gguf(folder):
    shutil.copy(seed("gguf", _make_gguf) / "model.gguf", folder)
    return Place(folder / "model.gguf")


def _read_header(path):
    from hwsearch.denoisers.loading.gguf.config import gguf_config
    from hwsearch.denoisers.loading.gguf.header import read_header

    return gguf_config(read_header(path))


def _read_gguf(path):
    """The whole file: header, tokenizer, template, and all tensors."""
    import torch

    from hwsearch.denoisers.chat.asking import encoded
    from hwsearch.denoisers.loading.gguf.model import read_gguf_model
    from hwsearch.denoisers.transformer import Transformer

    found = read_gguf_model(path)
    encoded(found.tokenizer, ASKED)
    with torch.device("meta"):
        wanted = {k: v.shape for k, v in Transformer(found.config.geometry).state_dict().items()}
    return found.read_tensors(wanted, torch.float32, torch.device("cpu"))


MODELS: dict[str, Reader] = {
    "config.json": Reader(_model("config.json"), _read_config, mutators.JSON),
    "config.json, for its sizes": Reader(
        lambda folder: Place(_model("config.json")(folder).path), _predict_sizes, mutators.JSON
    ),
    "tokenizer.json": Reader(_model("tokenizer.json"), _read_tokenizer, mutators.JSON),
    "tokenizer_config.json": Reader(_model("tokenizer_config.json"), _read_model_files, mutators.JSON),
    "generation_config.json": Reader(_model("generation_config.json"), _read_model_files, mutators.JSON),
    "special_tokens_map.json": Reader(
        _beside("special_tokens_map.json", json.dumps({k: SETTINGS[k] for k in list(SETTINGS)[:2]})),
        _read_model_files, mutators.JSON,
    ),
    "added_tokens.json": Reader(
        _beside("added_tokens.json", '{"<s>": 64, "</s>": 65, "<x>": 66}'), _read_model_files, mutators.JSON
    ),
    "chat template": Reader(_beside("chat_template.jinja", TEMPLATE, bos_token="<s>"), _read_chat),
    "vocab.json": Reader(_byte_level("vocab.json"), _read_tokenizer, mutators.JSON, share=0.1),
    "merges.txt": Reader(_byte_level("merges.txt"), _read_tokenizer, share=0.1),
    "safetensors": Reader(
        _model("model.safetensors"), _read_weights,
        (*mutators.BYTES, *[forms.safetensors_changed] * 8),
    ),
    "safetensors index": Reader(
        _model("model.safetensors.index.json", indexed=True), _read_weights, mutators.JSON
    ),
    "GGUF header": Reader(_gguf, _read_header, (*mutators.BYTES, *[forms.gguf_changed] * 4), share=0.5),
    "GGUF": Reader(_gguf, _read_gguf, (*mutators.BYTES, *[forms.gguf_changed] * 16), share=0.15),
}  # fmt: skip
