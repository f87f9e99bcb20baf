"""What is loaded computes what stock transformers computes with the same weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.denoisers.torch_backend import TorchBackend
from tests.denoisers.checkpoints import (
    VOCAB,
    llada_config,
    llada_tensors,
    stock_config,
    stock_logits,
    stock_model,
    write,
)

pytest.importorskip("transformers")
torch.set_num_threads(1)

BOUND = 1e-5


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randint(0, VOCAB, (2, 17), generator=torch.Generator().manual_seed(1))


def shifted(logits: torch.Tensor) -> torch.Tensor:
    """Dream's reading of logits, written out position by position."""
    out = logits.clone()
    for position in range(1, logits.shape[1]):
        out[:, position] = logits[:, position - 1]
    return out


@pytest.mark.parametrize("shards", [1, 3])
def test_llada_layout_equals_stock_llama(tmp_path, tokens, shards):
    stock = stock_model("Llama")
    folder = write(tmp_path, llada_config(), llada_tensors(stock), shards)
    loaded = load_denoiser(folder)
    assert (loaded.logits(tokens) - stock_logits(stock, tokens)).abs().max() <= BOUND
    assert (loaded.mask_token_id, loaded.end_token_id) == (0, 1)


@pytest.mark.parametrize("shards", [1, 2])
def test_dream_layout_equals_shifted_stock_qwen2(tmp_path, tokens, shards):
    stock = stock_model("Qwen2", kv_heads=2)
    folder = write(tmp_path, stock_config("Dream", 2), stock.state_dict(), shards)
    loaded = load_denoiser(folder)
    wanted = shifted(stock_logits(stock, tokens))
    assert (loaded.logits(tokens) - wanted).abs().max() <= BOUND
    assert (loaded.logits(tokens) - stock_logits(stock, tokens)).abs().max() > 0.1


@pytest.mark.parametrize("kv_heads", [4, 2, 1])
@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3"])
def test_plain_checkpoints_equal_stock(tmp_path, tokens, kind, kv_heads):
    head_dim = {"head_dim": 16} if kind == "Qwen3" else {}
    stock = stock_model(kind, kv_heads, **head_dim)
    config = stock_config(kind.lower(), kv_heads) | head_dim
    loaded = load_denoiser(write(tmp_path, config, stock.state_dict()))
    assert (loaded.logits(tokens) - stock_logits(stock, tokens)).abs().max() <= BOUND


def test_attention_is_bidirectional(tmp_path, tokens):
    stock = stock_model("Llama")
    loaded = load_denoiser(write(tmp_path, llada_config(), llada_tensors(stock)))
    changed = tokens.clone()
    changed[:, -1] = (changed[:, -1] + 1) % VOCAB
    assert (loaded.logits(tokens) - loaded.logits(changed))[:, 0].abs().max() > 1e-3


def test_tied_head_is_the_embedding(tmp_path, tokens):
    stock = stock_model("Llama", tie_word_embeddings=True)
    tensors = {k: v for k, v in stock.state_dict().items() if k != "lm_head.weight"}
    config = stock_config("llama") | {"tie_word_embeddings": True}
    loaded = load_denoiser(write(tmp_path, config, tensors))
    assert loaded.network.lm_head.weight is loaded.network.model.embed_tokens.weight
    assert (loaded.logits(tokens) - stock_logits(stock, tokens)).abs().max() <= BOUND


def test_rope_base_is_read_under_both_names(tmp_path, tokens):
    stock = stock_model("Llama", theta=1234.0)
    old = stock_config("llama", theta=1234.0)
    new = {k: v for k, v in old.items() if k != "rope_theta"}
    new["rope_parameters"] = {"rope_type": "default", "rope_theta": 1234.0}
    wanted = stock_logits(stock, tokens)
    for name, config in {"old": old, "new": new}.items():
        loaded = load_denoiser(write(tmp_path / name, config, stock.state_dict()))
        assert (loaded.logits(tokens) - wanted).abs().max() <= BOUND


def test_half_precision_is_kept_or_widened(tmp_path, tokens):
    stock = stock_model("Llama")
    halves = {name: tensor.half() for name, tensor in stock.state_dict().items()}
    folder = write(tmp_path, stock_config("llama"), halves)
    wide = load_denoiser(folder)
    narrow = load_denoiser(folder, dtype="bfloat16")
    assert wide.network.lm_head.weight.dtype is torch.float32
    assert narrow.network.lm_head.weight.dtype is torch.bfloat16
    stock.load_state_dict({name: tensor.float() for name, tensor in halves.items()})
    assert (wide.logits(tokens) - stock_logits(stock, tokens)).abs().max() <= BOUND
    assert narrow.logits(tokens).isfinite().all()


@pytest.mark.parametrize("start", [0, 5])
def test_cached_passes_of_a_shifted_model(tmp_path, tokens, start):
    """With everything cached and nothing changed, a step predicts what a whole pass does."""
    stock = stock_model("Qwen2", kv_heads=2)
    loaded = load_denoiser(write(tmp_path, stock_config("Dream", 2), stock.state_dict()))
    backend = TorchBackend(loaded.network, KeptShares.keeping_all(3))
    backend.begin()
    whole = loaded.logits(tokens)[:, start : start + 4]
    first = backend.refresh_logits(tokens.numpy(), start, start + 4)
    again = backend.step_logits(tokens.numpy(), start, start + 4)
    assert (first - whole).abs().max() <= BOUND
    assert (again - whole).abs().max() <= BOUND


def test_a_shifted_model_decodes(tmp_path):
    stock = stock_model("Qwen2", kv_heads=2)
    loaded = load_denoiser(write(tmp_path, stock_config("Dream", 2), stock.state_dict()))
    decoding = loaded.decoding.model_copy(
        update={"gen_length": 8, "block_length": 4, "steps": 8, "refresh_interval": 2}
    )
    prompts = np.array([[5, 6, 7], [8, 9, 10]])
    backend = TorchBackend(loaded.network, KeptShares((0.5,) * 3))
    written = generate(backend, prompts, decoding, loaded.mask_token_id)
    assert written.shape == (2, 11)
    assert (written[:, :3] == prompts).all()


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU here")
def test_loads_onto_a_gpu(tmp_path, tokens):
    stock = stock_model("Llama")
    loaded = load_denoiser(write(tmp_path, llada_config(), llada_tensors(stock)), device="cuda")
    found = loaded.logits(tokens.cuda()).cpu()
    assert (found - stock_logits(stock, tokens)).abs().max() <= 1e-3
