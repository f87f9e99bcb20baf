"""A checkpoint that cannot be loaded says which file, field or tensor is to blame."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from hwsearch.denoisers.loading import model_files
from hwsearch.denoisers.loading.config import parse_config
from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import CheckpointError, InputError, UnknownNameError
from tests.denoisers.checkpoints import VOCAB, llada_config, llada_tensors, stock_config, write


@pytest.fixture
def folder(tmp_path):
    config = stock_config("llama")
    network = Transformer(parse_config(Fields(config, "config")).geometry)
    return write(tmp_path / "model", config, network.state_dict())


def edit_tensors(folder, **changes):
    tensors = load_file(folder / "model.safetensors")
    for name, tensor in changes.items():
        if tensor is None:
            del tensors[name]
        else:
            tensors[name] = tensor
    save_file(tensors, folder / "model.safetensors")


def edit_config(folder, **changes):
    config = json.loads((folder / "config.json").read_text())
    kept = {k: v for k, v in {**config, **changes}.items() if v is not None}
    (folder / "config.json").write_text(json.dumps(kept))


def refused(folder, pattern, **arguments):
    with pytest.raises(CheckpointError, match=pattern):
        load_denoiser(folder, **arguments)


def test_loads_before_it_is_spoilt(folder):
    assert load_denoiser(folder).geometry.vocab_size == VOCAB


def test_missing_tensor_is_named(folder):
    edit_tensors(folder, **{"model.layers.1.mlp.up_proj.weight": None})
    refused(folder, r"missing tensor model\.layers\.1\.mlp\.up_proj\.weight")


def test_extra_tensor_is_named(folder):
    edit_tensors(folder, **{"model.layers.0.self_attn.q_proj.bias": torch.zeros(48)})
    refused(folder, r"no place for tensor model\.layers\.0\.self_attn\.q_proj\.bias")


def test_shape_against_config_is_named(folder):
    edit_tensors(folder, **{"model.norm.weight": torch.ones(47)})
    refused(folder, r"model\.norm\.weight is \[47\], but the config makes it \[48\]")


def test_too_few_layers_in_the_config(folder):
    edit_config(folder, num_hidden_layers=2)
    refused(folder, r"no place for tensors model\.layers\.2\..* and 6 more")


def test_computed_buffers_of_old_checkpoints_are_passed_over(folder):
    edit_tensors(folder, **{"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(6)})
    load_denoiser(folder)


def test_a_llada_that_ties_may_not_hold_another_head(tmp_path):
    network = Transformer(parse_config(Fields(llada_config(), "config")).geometry)
    config = llada_config() | {"weight_tying": True}
    folder = write(tmp_path / "model", config, llada_tensors(network))
    refused(folder, "config ties them")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.pth"])
def test_pickles_are_refused_with_the_reason(folder, name):
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(b"\x80\x04.")
    refused(folder, rf"{name}.*pickle can run any code")
    refused(folder / name, "pickle can run any code")


def test_index_may_not_name_a_pickle_or_leave_the_folder(folder):
    (folder / "model.safetensors").unlink()
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "part.bin"}}))
    refused(folder, "pickle can run any code")
    index.write_text(json.dumps({"weight_map": {"a": "../part.safetensors"}}))
    refused(folder, "inside it")
    index.write_text(json.dumps({"weight_map": {"a": "part.safetensors"}}))
    refused(folder, r"names part\.safetensors, which is missing")
    index.write_text("[]")
    refused(folder, "must hold a weight_map")


def test_damaged_file_is_named(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:100])
    refused(folder, r"model\.safetensors: safetensors refuses it")


def test_mask_token_must_be_known_and_can_be_given(folder):
    edit_config(folder, mask_token_id=None)
    refused(folder, r"mask_token_id is missing.*mask_token_id= to load_denoiser")
    assert load_denoiser(folder, mask_token_id=2).mask_token_id == 2
    refused(folder, f"mask_token_id {VOCAB} is outside the vocabulary", mask_token_id=VOCAB)


def test_end_token_must_be_known_and_may_be_a_list(folder):
    edit_config(folder, eos_token_id=[1, 2])
    assert load_denoiser(folder).end_token_id == 1
    edit_config(folder, eos_token_id=None)
    refused(folder, r"eos_token_id is missing.*end_token_id=")


def test_tokenizer_must_be_there_and_fit(folder):
    edit_config(folder, vocab_size=VOCAB - 1)
    tensors = load_file(folder / "model.safetensors")
    ends = ("model.embed_tokens.weight", "lm_head.weight")
    edit_tensors(folder, **{name: tensors[name][:-1].contiguous() for name in ends})
    refused(folder, "tokenizer has token 63")
    (folder / "tokenizer.json").unlink()
    refused(folder, "tokenizer.json is missing")


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not one of dream, llada, llama"),
        ({"hidden_size": None}, "hidden_size is missing"),
        ({"hidden_size": "48"}, "hidden_size must be a positive whole number, got '48'"),
        ({"num_key_value_heads": 3}, "4 query heads cannot share 3 key heads"),
        ({"rope_parameters": {"rope_type": "yarn"}}, "rope_type 'yarn' is not supported"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu' is not supported, only 'silu' is"),
        ({"attention_bias": True}, "attention_bias True is not supported"),
        ({"use_sliding_window": True}, "use_sliding_window True is not supported"),
        ({"hwsearch": {"decoding": {"gen_length": 8}}}, r"hwsearch\.decoding\.block_length"),
        ({"hwsearch": {"prompt_template": "{question:300000000}"}}, r"must be text that holds"),
        ({"hwsearch": {"prompt_template": 5}}, r"hwsearch\.prompt_template must be text"),
        ({"hwsearch": ["decoding"]}, "hwsearch must be an object"),
    ],
)
def test_config_errors_name_the_field(change, pattern):
    fields = {k: v for k, v in {**stock_config("llama"), **change}.items() if v is not None}
    with pytest.raises(CheckpointError, match=pattern):
        parse_config(Fields(fields, "config.json"))


@pytest.mark.parametrize(
    "change", [{"block_type": "sequential"}, {"alibi": True}, {"layer_norm_type": "default"}]
)
def test_other_llada_blocks_are_refused(change):
    with pytest.raises(CheckpointError, match=f"{next(iter(change))}.*not supported"):
        parse_config(Fields(llada_config() | change, "config.json"))


def test_unknown_name_lists_the_bundled_ones(tmp_path, monkeypatch):
    (tmp_path / "gsm-mini").mkdir()
    (tmp_path / "gsm-mini" / "config.json").write_text("{}")
    monkeypatch.setattr(model_files, "BUNDLED", tmp_path)
    with pytest.raises(UnknownNameError, match=r"'gsm-minu'; did you mean 'gsm-mini'"):
        load_denoiser("gsm-minu")


def test_missing_folder_and_unreachable_hub(tmp_path, monkeypatch):
    refused(tmp_path / "nothing", "no such model folder")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    refused("nobody/no-such-model", "cannot fetch nobody/no-such-model from the hub")


def test_dtype_and_device_are_checked(folder):
    with pytest.raises(UnknownNameError, match="unknown dtype 'int8'"):
        load_denoiser(folder, dtype="int8")
    with pytest.raises(InputError, match="device 'abacus' cannot be used"):
        load_denoiser(folder, device="abacus")
