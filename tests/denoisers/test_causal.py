"""An autoregressive model is the same transformer with a causal mask, read one token at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.errors import InputError
from hwsearch.plan import Decoding
from tests.denoisers.checkpoints import VOCAB, stock_config, stock_model, write

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def stock():
    model = stock_model("Llama", kv_heads=2)
    model.config.is_causal = True
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory, stock):
    config = stock_config("llama", 2)
    return write(tmp_path_factory.mktemp("ar") / "model", config, stock.state_dict())


@pytest.fixture(scope="module")
def loaded(folder):
    return load_denoiser(folder, causal=True)


def stock_causal_logits(model, tokens):
    length = tokens.shape[1]
    mask = torch.ones(length, length, dtype=torch.bool).tril().expand(len(tokens), 1, -1, -1)
    with torch.inference_mode():
        return model(input_ids=tokens, attention_mask=mask).logits


def test_logits_are_stock_causal_ones_one_position_later(stock, loaded):
    tokens = torch.randint(VOCAB, (2, 13), generator=torch.Generator().manual_seed(1))
    wanted = stock_causal_logits(stock, tokens)
    assert (loaded.logits(tokens)[:, 1:] - wanted[:, :-1]).abs().max() <= 1e-5


def test_recording_attention_mass_changes_nothing_and_mass_is_causal(loaded):
    tokens = torch.arange(10)[None]
    plain = loaded.transformer.refresh(tokens)
    recorded = loaded.transformer.refresh(tokens, frozenset(range(3)))
    assert (plain.hidden - recorded.hidden).abs().max() <= 1e-5
    heads = loaded.geometry.num_heads
    for mass in recorded.mass:
        # the last position is seen by the last query alone
        assert mass[0, -1] < heads
        assert mass.sum() == pytest.approx(10 * heads, rel=1e-5)


def test_generation_is_greedy_next_token(stock, loaded):
    prompt = np.array([[5, 6, 7, 8]])
    decoding = Decoding(gen_length=6, block_length=1, steps=6, refresh_interval=1)
    written = generate(
        TorchBackend(loaded.transformer, KeptShares.keeping_all(3)), prompt, decoding, 0
    )
    tokens = torch.from_numpy(prompt)
    for _ in range(6):
        best = stock_causal_logits(stock, tokens)[:, -1:].argmax(-1)
        tokens = torch.cat((tokens, best), dim=1)
    assert written.tolist() == tokens.tolist()


def test_its_own_decoding_is_one_token_a_pass(loaded):
    assert loaded.decoding.block_length == 1
    assert loaded.decoding.steps == loaded.decoding.gen_length


def test_a_config_can_say_that_a_model_is_causal(tmp_path, stock):
    config = stock_config("llama", 2) | {"hwsearch": {"causal": True}}
    assert load_denoiser(write(tmp_path, config, stock.state_dict())).geometry.causal


def test_blocks_of_several_tokens_are_refused(loaded):
    decoding = Decoding(gen_length=6, block_length=3, steps=6, refresh_interval=3)
    with pytest.raises(InputError, match="block_length 1"):
        generate(
            TorchBackend(loaded.transformer, KeptShares.keeping_all(3)),
            np.array([[5]]),
            decoding,
            0,
        )
