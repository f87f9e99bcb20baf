"""Real weights through the whole path, and the converter that brings them, on a file of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hwsearch.bundle import Exporter
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.jobs.verification import verify
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.bundle import TOKENIZER_FILE
from tests.denoisers.checkpoints import stock_logits, stock_model
from tests.smollm2 import _LAYER, _OUTSIDE, convert, needed, unpermuted

QUESTIONS = ["Tom has 3 apples and buys 5 more. How many now?", "What is 12 plus 30?"]

#: Sizes that blocks of 32 divide, and heads that are grouped.
HIDDEN, INNER, HEADS, KV_HEADS, LAYERS = 64, 96, 4, 2, 2


def paired(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows as llama.cpp's converter orders them: the two of each rotation side by side."""
    rows, columns = weight.shape
    return (
        weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)
    )


def write_gguf(path: Path, model: torch.nn.Module, tokens: list[str], kinds: list[int]) -> None:
    """A tied stock Llama as a GGUF file."""
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_block_count(LAYERS)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KV_HEADS)
    writer.add_rope_freq_base(10_000.0)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges(["a b", "ab c"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    names = {stock: gguf for gguf, stock in _OUTSIDE.items()}
    parts = {stock: gguf for gguf, stock in _LAYER.items()}
    for name, tensor in model.state_dict().items():
        stem, array = name.removesuffix(".weight"), tensor.numpy()
        if stem == "lm_head":
            continue
        if stem not in names:
            _, _, layer, part = stem.split(".", 3)
            heads = {"self_attn.q_proj": HEADS, "self_attn.k_proj": KV_HEADS}.get(part)
            array = array if heads is None else paired(array, heads)
            names[stem] = f"blk.{layer}.{parts[part]}"
        writer.add_tensor(f"{names[stem]}.weight", np.ascontiguousarray(array))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_converted_file_computes_what_the_stock_model_does(tmp_path):
    pytest.importorskip("gguf", reason="the converter reads GGUF with the package gguf")
    pytest.importorskip("transformers", reason="held against the stock class")
    tokens = ["<a>", "<b>", "<end>", "<c>", "<mask>", *"abc", "ab", "abc"]
    tokens += [f"w{n}" for n in range(54)]
    model = stock_model(
        "Llama",
        KV_HEADS,
        10_000.0,
        hidden_size=HIDDEN,
        intermediate_size=INNER,
        num_attention_heads=HEADS,
        num_hidden_layers=LAYERS,
        vocab_size=len(tokens),
        tie_word_embeddings=True,
    )
    write_gguf(tmp_path / "m.gguf", model, tokens, [3] * 5 + [1] * (len(tokens) - 5))
    denoiser = load_denoiser(convert(tmp_path / "m.gguf", tmp_path / "model"))
    assert (denoiser.mask_token_id, denoiser.end_token_id) == (4, 2)
    assert denoiser.tokenizer.encode("abcab<end>").tokens == ["abc", "ab", "<end>"]
    drawn = torch.randint(0, len(tokens), (2, 11), generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(
        denoiser.logits(drawn), stock_logits(model, drawn), rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("heads", [1, 2, 3])
def test_rows_come_back_to_where_they_were(heads):
    weight = np.arange(heads * 8 * 3, dtype=np.float32).reshape(heads * 8, 3)
    np.testing.assert_array_equal(unpermuted(paired(weight, heads), heads), weight)


@pytest.fixture(scope="module")
def denoiser():
    return load_denoiser(needed())


@pytest.fixture(scope="module")
def exporter(denoiser):
    return Exporter(denoiser)


def plans(layers: int) -> dict[str, CompressionPlan]:
    """All int8, and every format side by side."""
    formats = ["fp32", "w8a8", "w8", "w4"]
    mixed = [{"attention": formats[i % 4], "mlp": formats[(i + 1) % 4]} for i in range(layers)]
    return {
        "w8a8": CompressionPlan.uniform(layers, "w8a8", "w8a8", head="w8a8"),
        "mixed": CompressionPlan.validate({"layers": mixed, "head": "w8"}),
    }


@pytest.mark.slow
@pytest.mark.parametrize("name", ["w8a8", "mixed"])
def test_bundles_of_real_weights_verify_and_weigh_what_is_said(denoiser, exporter, tmp_path, name):
    plan = plans(denoiser.num_layers)[name]
    kept = KeptShares.keeping_all(denoiser.num_layers)
    compressed = compress(denoiser, plan)
    bundle = exporter.export(compressed, kept, tmp_path / name, questions=QUESTIONS)
    checks = verify(bundle.path)
    assert [check for check in checks if check.decides and not check.passed] == []
    files = sum(path.stat().st_size for path in bundle.path.iterdir() if path.name != "bundle.json")
    assert bundle.size_bytes == bundle.manifest.figures.size_bytes == files
    weights = files - (bundle.path / TOKENIZER_FILE).stat().st_size
    assert weights == pytest.approx(denoiser.plan_bytes(plan), rel=0.02)
