"""What is loaded from a GGUF file computes what the same weights in safetensors compute."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from hwsearch.denoisers.caching.digest import geometry_digest
from hwsearch.denoisers.loading.config import read_config, read_geometry
from hwsearch.denoisers.loading.gguf import tensors as gguf_tensors
from hwsearch.denoisers.loading.gguf.tensors import unpaired
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.denoisers.loading.options import ModelOptions
from hwsearch.errors import CheckpointError
from hwsearch.testing.tiny import tiny_tokenizer
from tests.denoisers.checkpoints import VOCAB, stock_logits, stock_model
from tests.denoisers.gguf_files import (
    K_SCALES,
    STOCK,
    WRITTEN,
    Kind,
    arrays,
    gguf,
    metadata,
    paired,
    quantised,
    write_file,
    write_model,
    write_twin,
)

pytest.importorskip("transformers")
torch.set_num_threads(1)

#: Sizes that blocks of 256 divide.
LARGE = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1}


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, VOCAB, (2, 17), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kv_heads", [4, 2])
@pytest.mark.parametrize("architecture", STOCK)
def test_each_architecture_equals_its_twin_exactly(tmp_path, tokens, architecture, kv_heads):
    stock = stock_model(STOCK[architecture][0], kv_heads, theta=12_345.0)
    path = write_model(tmp_path / "m.gguf", architecture, stock)
    ours, twin = load_denoiser(path), load_denoiser(write_twin(tmp_path / "t", architecture, stock))
    assert torch.equal(ours.logits(tokens), twin.logits(tokens))
    assert ours.geometry == twin.geometry == read_geometry(path)
    assert geometry_digest(ours.geometry) == geometry_digest(twin.geometry)
    assert ours.geometry.logit_shift == (architecture == "dream")
    assert ours.decoding == twin.decoding == read_config(path).decoding
    assert (ours.mask_token_id, ours.end_token_id, ours.name) == (0, 1, str(path))
    if architecture != "dream":  # the stock class shifts nothing
        assert (ours.logits(tokens) - stock_logits(stock, tokens)).abs().max() <= 1e-5


def test_rows_that_are_not_put_back_would_be_noticed(tmp_path, tokens):
    stock = stock_model("Llama", 2)
    loaded = load_denoiser(write_model(tmp_path / "m.gguf", "llama", stock))
    fields = {k.replace("llama.", "qwen2."): v for k, v in metadata("llama", stock.config).items()}
    biases = {
        f"blk.{layer}.attn_{part}.bias": np.zeros(size, np.float32)
        for layer in range(3)
        for part, size in (("q", 48), ("k", 24), ("v", 24))
    }
    as_halves = write_file(tmp_path / "q.gguf", "qwen2", fields, arrays("llama", stock) | biases)
    assert (load_denoiser(as_halves).logits(tokens) - loaded.logits(tokens)).abs().max() > 0.1


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_rows_come_back_to_where_they_were(heads):
    weight = np.arange(heads * 8 * 3, dtype=np.float32).reshape(heads * 8, 3)
    for rows in (weight, weight[:, 0]):
        back = unpaired(torch.from_numpy(paired(rows, heads)), heads)
        np.testing.assert_array_equal(back.numpy(), rows)


@pytest.mark.parametrize("kind", [*WRITTEN, *K_SCALES])
@pytest.mark.parametrize("at_a_time", [2**24, 1000])
def test_each_type_equals_what_its_blocks_stand_for(tmp_path, tokens, monkeypatch, kind, at_a_time):
    monkeypatch.setattr(gguf_tensors, "_AT_A_TIME", at_a_time)
    stock = stock_model("Llama", 2, **LARGE)
    blocks, kinds = {}, {}
    for seed, (name, array) in enumerate(arrays("llama", stock).items()):
        kinds[name] = kind if array.ndim == 2 else "F32"
        blocks[name] = quantised(array, kinds[name], seed)
    path = write_file(tmp_path / "m.gguf", "llama", metadata("llama", stock.config), blocks, kinds)
    # the same numbers, by the package, put into the stock model under its own names
    meant = {name: gguf.dequantize(blocks[name], Kind[kinds[name]]) for name in blocks}
    stock.load_state_dict(by_stock_names(stock, meant))
    twin = load_denoiser(write_twin(tmp_path / "twin", "llama", stock))
    assert torch.equal(load_denoiser(path).logits(tokens), twin.logits(tokens))


def by_stock_names(stock, meant):
    """Tensors of a GGUF file under the stock class's names, rows of q and k put back one by one."""
    config, found = stock.config, {}
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    for (name, before), array in zip(stock.state_dict().items(), meant.values(), strict=True):
        part = name.split(".")[-2]
        places = np.arange(len(array))
        rows = np.empty_like(array)
        rows[paired(places, heads[part]) if part in heads else places] = array
        assert rows.shape == before.shape
        found[name] = torch.from_numpy(rows)
    return found


def test_half_precision_is_kept(tmp_path, tokens):
    stock = stock_model("Qwen2", 2)
    path = write_model(tmp_path / "m.gguf", "dream", stock)
    narrow = load_denoiser(path, dtype="bfloat16")
    twin = load_denoiser(write_twin(tmp_path / "t", "dream", stock), dtype="bfloat16")
    assert narrow.network.lm_head.weight.dtype is torch.bfloat16
    assert torch.equal(narrow.logits(tokens), twin.logits(tokens))


def test_a_missing_head_is_the_embedding(tmp_path, tokens):
    stock = stock_model("Llama", tie_word_embeddings=True)
    loaded = load_denoiser(write_model(tmp_path / "m.gguf", "llama", stock))
    assert loaded.network.lm_head.weight is loaded.network.model.embed_tokens.weight
    assert loaded.geometry.tie_embeddings
    assert (loaded.logits(tokens) - stock_logits(stock, tokens)).abs().max() <= 1e-5


def test_heads_may_be_wider_than_the_residual_stream_divides(tmp_path, tokens):
    stock = stock_model("Llama", 2, head_dim=16)
    loaded = load_denoiser(write_model(tmp_path / "m.gguf", "llama", stock))
    assert loaded.geometry.head_dim == 16
    assert (loaded.logits(tokens) - stock_logits(stock, tokens)).abs().max() <= 1e-5


@pytest.mark.parametrize("shifts", [True, False])
@pytest.mark.parametrize("architecture", STOCK)
def test_what_the_file_says_of_shifted_logits_counts(tmp_path, architecture, shifts):
    stock = stock_model(STOCK[architecture][0])
    said = {"diffusion.shift_logits": shifts}
    path = write_model(tmp_path / "m.gguf", architecture, stock, **said)
    assert read_geometry(path).logit_shift == shifts


def test_a_model_that_reads_from_left_to_right(tmp_path, tokens):
    """Causal where that is asked for, which needs no mask; a denoiser of whoever says the mask."""
    stock = stock_model("Qwen2", 2)
    none = {"tokenizer.ggml.mask_token_id": None}
    path = write_model(tmp_path / "m.gguf", "qwen2", stock, **none)
    causal = load_denoiser(path, causal=True)
    assert causal.geometry.causal and causal.decoding.block_length == 1
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % VOCAB
    assert torch.equal(causal.logits(tokens)[:, :-1], causal.logits(changed)[:, :-1])
    with pytest.raises(CheckpointError, match=r"m\.gguf: mask_token_id is missing"):
        load_denoiser(path)
    asked = ModelOptions(mask_token_id=5, gen_length=8, block_length=4, steps=8).load(path)
    assert (asked.mask_token_id, asked.geometry.causal, asked.decoding.gen_length) == (5, False, 8)
    again = ModelOptions(**asked.options).load(asked.name)
    assert torch.equal(again.logits(tokens), asked.logits(tokens))


def test_every_token_that_ends_an_answer_is_known(tmp_path):
    stock = stock_model("Llama")
    ends = {"tokenizer.ggml.eot_token_id": 7, "tokenizer.ggml.eom_token_id": 1}
    loaded = load_denoiser(write_model(tmp_path / "m.gguf", "llama", stock, **ends))
    assert (loaded.end_token_id, loaded.end_token_ids) == (1, {1, 7})
    without = write_model(
        tmp_path / "n.gguf", "llama", stock, **{"tokenizer.ggml.eos_token_id": None}
    )
    with pytest.raises(CheckpointError, match="eos_token_id is missing"):
        load_denoiser(without)
    assert load_denoiser(without, end_token_id=9).end_token_id == 9


def test_a_chat_template_sees_the_special_tokens(tmp_path):
    template = "{{ bos_token }}{% for m in messages %}{{ m.content }}{% endfor %}{{ eos_token }}"
    said = {"tokenizer.chat_template": template}
    path = write_model(tmp_path / "m.gguf", "llada", stock_model("Llama"), **said)
    loaded = load_denoiser(path)
    assert loaded.chat is not None
    assert loaded.chat.ask("a") == "<begin>a<end>"
    plain = write_model(tmp_path / "n.gguf", "llada", stock_model("Llama"))
    assert load_denoiser(plain).chat is None


def test_a_tokenizer_beside_the_file_counts_first(tmp_path):
    path = write_model(
        tmp_path / "m.gguf", "llada", stock_model("Llama"), **{"tokenizer.ggml.model": "rwkv"}
    )
    with pytest.raises(CheckpointError, match="'rwkv' is not one of gpt2, llama; put the"):
        load_denoiser(path)
    tiny_tokenizer(VOCAB).save(str(tmp_path / "tokenizer.json"))
    assert load_denoiser(path).tokenizer.encode("tom has 3").tokens == ["tom", "has", "3"]


def test_a_folder_with_one_file_stands_for_it(tmp_path, tokens):
    stock = stock_model("Llama")
    path = write_model(tmp_path / "m.gguf", "llada", stock)
    loaded = load_denoiser(tmp_path)
    assert torch.equal(loaded.logits(tokens), load_denoiser(path).logits(tokens))
    assert read_config(tmp_path).where == str(path)
    write_model(tmp_path / "n.gguf", "llada", stock)
    with pytest.raises(CheckpointError, match=r"several GGUF files \(m\.gguf, n\.gguf\); give the"):
        load_denoiser(tmp_path)
    # what has a config.json is a folder in Hugging Face layout
    write_twin(tmp_path, "llada", stock)
    assert read_config(tmp_path).where == str(tmp_path / "config.json")
    assert torch.equal(load_denoiser(tmp_path).logits(tokens), loaded.logits(tokens))


def test_sizes_are_read_without_the_package(tmp_path, monkeypatch):
    path = write_model(tmp_path / "m.gguf", "llada", stock_model("Llama"))
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert read_geometry(path).vocab_size == VOCAB
    with pytest.raises(CheckpointError, match=r'needs the package gguf: pip install "hwsearch\[gg'):
        load_denoiser(path)


def test_a_damaged_header_is_read_otherwise_or_refused(tmp_path):
    """Whichever byte of a header is another, nothing but a refusal comes of it."""
    path = write_model(tmp_path / "m.gguf", "llada", stock_model("Llama"))
    whole = path.read_bytes()
    ends = whole.index(b"output.weight") + 60
    rng, refused = np.random.default_rng(0), 0
    for place in rng.choice(ends, 500, replace=False):
        data = bytearray(whole)
        data[place] ^= int(rng.integers(1, 256))
        path.write_bytes(data)
        try:
            load_denoiser(path)
        except CheckpointError:
            refused += 1
    assert 200 < refused < 500
