"""The weights that count are those that stock transformers loads, over folders of many layouts."""

from __future__ import annotations

import json
from functools import cache

import pytest
import torch
from safetensors.torch import save_file

from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import CheckpointError
from tests.denoisers.checkpoints import (
    VOCAB,
    llada_config,
    llada_tensors,
    stock_config,
    stock_model,
    write,
)

transformers = pytest.importorskip("transformers")

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
NAMES = {"Llama": "llama", "Qwen2": "qwen2", "Qwen3": "qwen3"}
BOUND = 1e-5
#: Older checkpoints store them, and every model computes them.
BUFFERS = ("model.rotary_emb.inv_freq", "rotary_emb.inv_freq")


@cache
def weights(seed, kind="Llama"):
    """Tensors of a small model, by stock names."""
    config = getattr(transformers, f"{kind}Config")
    stock = stock_model(kind, kv_heads=2, num_hidden_layers=2)
    assert isinstance(stock.config, config)
    generator = torch.Generator().manual_seed(seed)
    return {
        name: tensor * (1 + torch.rand(tensor.shape, generator=generator) / 2)
        for name, tensor in stock.state_dict().items()
    }


def save(folder, name, tensors):
    kept = {name: tensor.contiguous().clone() for name, tensor in tensors.items()}
    save_file(kept, folder / name, metadata={"format": "pt"})


def shard(folder, tensors, count=2, stem="model", order=1):
    """Shards and their index; the map of names to files is returned."""
    where, names = {}, sorted(tensors)
    for part in range(count):
        file = f"{stem}-{part + 1:05}-of-{count:05}.safetensors"
        held = names[part::count][::order]
        save(folder, file, {name: tensors[name] for name in held})
        where.update(dict.fromkeys(held, file))
    write_index(folder, where)
    return where


def write_index(folder, where):
    index = {"metadata": {"total_size": 1}, "weight_map": where}
    (folder / INDEX).write_text(json.dumps(index))


def without(tensors, *names):
    return {name: tensor for name, tensor in tensors.items() if name not in names}


def bare(tensors):
    return {name.removeprefix("model."): tensor for name, tensor in tensors.items()}


def head_prefixed(tensors):
    return {"model." + HEAD: tensors[HEAD], **without(bare(tensors), HEAD)}


def mixed(tensors):
    kinds = (torch.float32, torch.bfloat16, torch.float16, torch.float64)
    return {n: t.to(kinds[i % 4]) for i, (n, t) in enumerate(sorted(tensors.items()))}


def tied(tensors):
    return {**tensors, HEAD: tensors[EMBEDDING]}


def both(folder):
    save(folder, WHOLE, weights(0))
    shard(folder, weights(1))


def stale_shard(folder):
    shard(folder, weights(0))
    save(folder, "model-00003-of-00003.safetensors", weights(1))


def other_files(folder):
    save(folder, WHOLE, weights(0))
    save(folder, "a.safetensors", weights(1))
    save(folder, "model.fp16.safetensors", weights(1))
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    (folder / "pytorch_model.bin.index.json").write_text("{}")


def broken_index(folder):
    save(folder, WHOLE, weights(0))
    (folder / INDEX).write_text("not json")


def in_two_shards(folder):
    where = shard(folder, weights(0))
    late = max(where.values())
    held = {name: weights(0)[name] for name, file in where.items() if file == late}
    save(folder, late, held | {EMBEDDING: weights(1)[EMBEDDING]})


def more_in_a_shard(folder):
    """Tensors that the index does not name, in a file that it does."""
    where = shard(folder, weights(0))
    write_index(folder, {n: f for n, f in where.items() if n not in list(where)[:3]})


def index_beside_bin(folder):
    shard(folder, weights(0), count=3)
    (folder / "pytorch_model.bin").write_bytes(b"\x80\x04.")


def named_weights(folder):
    save(folder, WHOLE, weights(1))
    save(folder, "chosen.safetensors", weights(0))


def named_index(folder):
    shard(folder, weights(0), stem="part")
    (folder / INDEX).rename(folder / "chosen.safetensors.index.json")
    save(folder, WHOLE, weights(1))


def single(change):
    return lambda folder: save(folder, WHOLE, change(weights(0)))


TIE = {"tie_word_embeddings": True}
#: Layout: how it is written, and what its config says beside the usual.
LAYOUTS = {
    "whole": (single(dict), {}),
    "whole beside an index": (both, {}),
    "whole beside a broken index": (broken_index, {}),
    "whole beside others": (other_files, {}),
    "shards": (lambda folder: shard(folder, weights(0), count=4, order=-1), {}),
    "shards beside a stale one": (stale_shard, {}),
    "shards beside a pickle": (index_beside_bin, {}),
    "shards that share a tensor": (in_two_shards, {}),
    "shards with more than the index says": (more_in_a_shard, {}),
    "named file": (named_weights, {"transformers_weights": "chosen.safetensors"}),
    "named index": (named_index, {"transformers_weights": "chosen.safetensors.index.json"}),
    "mixed kinds": (single(mixed), {}),
    "bfloat16": (single(lambda t: {n: w.bfloat16() for n, w in t.items()}), {}),
    "float16": (single(lambda t: {n: w.half() for n, w in t.items()}), {}),
    "no prefix": (single(bare), {}),
    "no prefix, head prefixed": (single(head_prefixed), {}),
    "computed buffers": (
        single(lambda t: t | dict.fromkeys(BUFFERS, torch.ones(6))),
        {},
    ),
    "tied, embedding stored": (single(lambda t: without(t, HEAD)), TIE),
    "tied, head stored": (single(lambda t: without(t, EMBEDDING)), TIE),
    "tied, both stored and equal": (single(tied), TIE),
    "tied, both stored and not equal": (single(dict), TIE),
    "tied, no prefix": (single(lambda t: without(bare(t), HEAD)), TIE),
    "tied in shards that differ": (lambda folder: shard(folder, weights(0)), TIE),
    "not tied, both stored and equal": (single(tied), {}),
}  # fmt: skip


def folder_of(path, layout, kind="Llama", **more):
    config = stock_config(NAMES[kind], kv_heads=2) | {"num_hidden_layers": 2} | more
    folder = write(path, {k: v for k, v in config.items() if v is not None}, {})
    (folder / WHOLE).unlink()
    layout(folder)
    return folder


def stock_logits(folder, tokens):
    model, told = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True
    )
    assert not told["missing_keys"]
    mask = torch.ones(*tokens.shape, tokens.shape[1], dtype=torch.bool)[:, None]
    with torch.inference_mode():
        return model.eval()(input_ids=tokens, attention_mask=mask).logits


@pytest.fixture(scope="module")
def tokens():
    return torch.randint(0, VOCAB, (2, 13), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_folder_gives_the_logits_of_transformers(tmp_path, tokens, name):
    layout, more = LAYOUTS[name]
    folder = folder_of(tmp_path / "m", layout, **more)
    wanted = stock_logits(folder, tokens)
    assert (load_denoiser(folder).logits(tokens) - wanted).abs().max() <= BOUND


@pytest.mark.parametrize("kind", ["Qwen2", "Qwen3"])
@pytest.mark.parametrize("ties", [True, False, None])
def test_families_and_their_default_of_tying(tmp_path, tokens, kind, ties):
    def layout(folder):
        save(folder, WHOLE, tied(weights(0, kind)) if ties else weights(0, kind))

    folder = folder_of(tmp_path / "m", layout, kind, tie_word_embeddings=ties)
    loaded = load_denoiser(folder)
    assert (loaded.logits(tokens) - stock_logits(folder, tokens)).abs().max() <= BOUND
    assert loaded.geometry.tie_embeddings is bool(ties)


def test_a_head_of_its_own_is_counted_and_not_shared(tmp_path):
    """What is stored decides over the config's flag, also for what the sizes say."""
    loaded = load_denoiser(folder_of(tmp_path / "own", single(dict), **TIE))
    assert not loaded.geometry.tie_embeddings
    assert loaded.network.lm_head.weight is not loaded.network.model.embed_tokens.weight
    loaded = load_denoiser(
        folder_of(tmp_path / "tied", single(lambda t: without(t, EMBEDDING)), **TIE)
    )
    assert loaded.geometry.tie_embeddings
    assert loaded.network.lm_head.weight is loaded.network.model.embed_tokens.weight


def empty_index(folder):
    write_index(folder, {})


def one_missing(folder):
    where = shard(folder, weights(0))
    (folder / max(where.values())).unlink()


def absent_in_shard(folder):
    where = shard(folder, weights(0))
    held = {n: weights(0)[n] for n, f in where.items() if f == where[EMBEDDING]}
    save(folder, where[EMBEDDING], without(held, EMBEDDING))


def codes(dtype):
    return single(
        lambda t: (
            t
            | {
                "model.layers.1.mlp.up_proj.weight": t["model.layers.1.mlp.up_proj.weight"].to(
                    dtype
                )
            }
        )
    )


def shape(t):
    return t | {EMBEDDING: t[EMBEDDING][:-1]}


METHOD = {"quant_method": "fp8"}
#: Folders that stock transformers refuses, fills at random, or reads as other numbers.
REFUSED = {
    "no file": (lambda folder: None, {}, "model.safetensors or .* is missing"),
    "another name": (
        lambda folder: save(folder, "weights.safetensors", weights(0)),
        {},
        "rename the one that counts of weights.safetensors to model.safetensors",
    ),
    "a variant": (lambda folder: save(folder, "model.fp16.safetensors", weights(0)), {}, "rename"),
    "empty index": (empty_index, {}, "missing tensors"),
    "a shard is gone": (one_missing, {}, "names model-00002-of-00002.safetensors, which is missing"),
    "a tensor is not in its shard": (absent_in_shard, {}, f"missing tensor {EMBEDDING}"),
    "no head": (single(lambda t: without(t, HEAD)), {}, f"missing tensor {HEAD}"),
    "no embedding": (single(lambda t: without(t, EMBEDDING)), {}, f"missing tensor {EMBEDDING}"),
    "tied and neither": (single(lambda t: without(t, EMBEDDING, HEAD)), TIE, "missing tensors"),
    "other shape": (single(shape), {}, r"embed_tokens.weight is \[63, 48\]"),
    "int8": (codes(torch.int8), {}, "stored as I8, but weights must be one of F32, BF16"),
    "uint8": (codes(torch.uint8), {}, "stored as U8"),
    "fp8": (codes(torch.float8_e4m3fn), {}, "stored as F8_E4M3"),
    "fp8 that says so": (single(dict), {"quantization_config": METHOD}, "quantization_config fp8"),
    "compressed-tensors": (
        single(dict),
        {"quantization_config": {"quant_method": "compressed-tensors", "format": "int-quantized"}},
        r"weights quantised already \(quantization_config compressed-tensors\)",
    ),
    "an earlier name for it": (single(dict), {"compression_config": {"format": "x"}}, "compression_config"),
    "named file gone": (
        single(dict), {"transformers_weights": "no.safetensors"}, "no.safetensors, which is missing",
    ),
    "named elsewhere": (
        single(dict), {"transformers_weights": "../x.safetensors"}, "must be the name of a file here",
    ),
    "a git-lfs pointer": (
        lambda folder: (folder / WHOLE).write_text("version https://git-lfs.github.com/spec/v1\n"),
        {},
        "model.safetensors: safetensors refuses it: .*; fetch or convert it again",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_right_is_refused_in_one_line(tmp_path, name):
    layout, more, told = REFUSED[name]
    folder = folder_of(tmp_path / "m", layout, **more)
    with pytest.raises(CheckpointError, match=told) as caught:
        load_denoiser(folder)
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_llada_names_with_and_without_their_prefix(tmp_path, tokens):
    stock = stock_model("Llama")
    names = llada_tensors(stock)
    shorter = {name.removeprefix("model."): tensor for name, tensor in names.items()}
    whole = load_denoiser(write(tmp_path / "whole", llada_config(), names)).logits(tokens)
    short = load_denoiser(write(tmp_path / "short", llada_config(), shorter)).logits(tokens)
    assert torch.equal(whole, short)


def test_a_llada_that_ties_holds_its_embedding_alone_or_twice(tmp_path, tokens):
    stock = stock_model("Llama", tie_word_embeddings=True)
    twice = llada_tensors(stock)
    alone = without(twice, "model.transformer.ff_out.weight")
    config = llada_config() | {"weight_tying": True}
    for name, tensors in {"alone": alone, "twice": twice}.items():
        loaded = load_denoiser(write(tmp_path / name, config, tensors))
        assert loaded.network.lm_head.weight is loaded.network.model.embed_tokens.weight
