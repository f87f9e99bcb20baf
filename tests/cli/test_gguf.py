"""A GGUF file by the command line: what it is, what it predicts, and each way to be none in one line."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest

from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_tokenizer
from tests.denoisers.checkpoints import LAYERS, VOCAB, stock_model
from tests.denoisers.gguf_files import (
    TOKENS,
    arrays,
    gguf,
    metadata,
    write_file,
    write_model,
    write_twin,
)

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def stock():
    return stock_model("Llama")


@pytest.fixture
def write(stock, tmp_path):
    """Write a LLaDA with other metadata (None leaves out) or other tensors, and the types of those."""

    def call(fields=None, tensors=None, kinds=None, architecture="llada", name="m.gguf"):
        said = metadata("llada", stock.config) | (fields or {})
        held = arrays("llada", stock) | (tensors or {})
        return write_file(
            tmp_path / name,
            architecture,
            {key: value for key, value in said.items() if value is not None},
            {key: value for key, value in held.items() if value is not None},
            kinds,
        )

    return call


@pytest.fixture
def refused(run):
    """Load a file by a verb: one line, exit code 2. Returns the line."""

    def call(path, verb="evaluate"):
        code, out, err = run(verb, path)
        assert (code, out) == (2, ""), err
        assert err.startswith("error: ") and err.count("\n") == 1, err
        return err

    return call


def test_inspect_says_of_a_file_what_it_says_of_its_twin(tmp_path, run, stock):
    path = write_model(tmp_path / "m.gguf", "llada", stock)
    code, out, _ = run("inspect", path, "--json")
    twin = write_twin(tmp_path / "twin", "llada", stock)
    assert code == 0
    assert json.loads(out) == json.loads(run("inspect", twin, "--json")[1])


def test_predict_takes_a_file(tmp_path, run, stock):
    path = write_model(tmp_path / "m.gguf", "llada", stock)
    tiny_tokenizer(VOCAB).save(str(tmp_path / "tokenizer.json"))  # the twin's, for equal prompts
    plan = tmp_path / "plan.json"
    plan.write_text(CompressionPlan.uniform(LAYERS, "w4", "w4", head="w4").to_json())
    lines = [
        run("predict", plan, "--model", model, "--device", "rtx-4090", "--json")
        for model in (path, write_twin(tmp_path / "twin", "llada", stock))
    ]
    assert [code for code, *_ in lines] == [0, 0], lines
    assert lines[0][1] == lines[1][1].replace(str(tmp_path / "twin"), str(path))


def test_another_architecture(write, refused):
    path = write(architecture="gpt2")
    for verb in ("evaluate", "inspect"):
        assert "general.architecture 'gpt2' is not one of dream, llada, llama, qwen2" in refused(
            path, verb
        )


def test_another_type(write, refused):
    """One that the package knows and cannot turn into numbers, and one that it does not know."""
    path = write(tensors={"output_norm.weight": np.ones(48, np.int32)})
    assert f"{path}: output_norm.weight is stored as I32, which gguf" in refused(path)
    path = write(name="n.gguf")
    data = bytearray(path.read_bytes())
    named = data.index(b"blk.1.ffn_up.weight") + len(b"blk.1.ffn_up.weight")
    kind = named + 4 + 2 * 8
    assert data[kind : kind + 4] == bytes(4)
    data[kind] = 99
    path.write_bytes(data)
    assert f"{path}: blk.1.ffn_up.weight is stored as type 99, which gguf" in refused(path)


def test_a_file_that_is_cut_off(write, refused):
    path = write()
    whole = path.read_bytes()
    path.write_bytes(whole[:-5000])
    assert "but the file is cut off at" in refused(path)
    for length in (4, 23, 24, 100, 1000, whole.index(b"blk.0.attn_q.weight") + 30):
        path.write_bytes(whole[:length])
        said = f"{path}: it is cut off: its header goes on after its {length} bytes"
        assert said in refused(path, "inspect")


@pytest.mark.parametrize("held", [b"", b"GG", b"PK\x03\x04" + bytes(100)])
def test_a_file_that_is_none(tmp_path, refused, held):
    path = tmp_path / "m.gguf"
    path.write_bytes(held)
    assert f"{path} is not a GGUF file: it begins with" in refused(path)


def test_a_file_that_is_not_there(tmp_path, refused):
    assert "no such GGUF file" in refused(tmp_path / "m.gguf")


def test_tensors_that_are_not_this_models(write, refused):
    path = write(tensors={"blk.1.ffn_up.weight": None})
    assert f"{path}: missing tensor blk.1.ffn_up.weight" in refused(path)
    path = write(tensors={"token_embd.weight": None})
    assert "missing tensor token_embd.weight" in refused(path, "inspect")
    path = write(tensors={"blk.1.attn_q.bias": np.ones(48, np.float32)})
    assert "no place for tensor blk.1.attn_q.bias" in refused(path)
    path = write(tensors={"blk.1.ffn_up.weight": np.ones((80, 40), np.float32)})
    assert "blk.1.ffn_up.weight is [80, 40], but the config makes it [80, 48]" in refused(path)
    path = write(tensors={"blk.0.ffn_up.weight": np.ones((90, 48), np.float32)})
    told = "blk.0.ffn_up.weight is [90, 48], but the metadata make it [80, 48]"
    assert told in refused(path, "inspect")
    path = write({"llada.block_count": 4})
    assert "block_count is 4, but there are tensors of 3 layers" in refused(path, "inspect")
    path = write(tensors={"rope_freqs.weight": np.ones(6, np.float32)})
    assert "a stretched rotary embedding (rope_freqs.weight) is not supported" in refused(path)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("block_count", None, "llada.block_count is missing"),
        ("embedding_length", None, "llada.embedding_length is missing"),
        ("feed_forward_length", None, "llada.feed_forward_length is missing"),
        ("attention.head_count", None, "llada.attention.head_count is missing"),
        ("attention.layer_norm_rms_epsilon", None, "layer_norm_rms_epsilon is missing"),
        ("attention.head_count_kv", 3, "4 query heads cannot share 3 key heads"),
        ("attention.head_count_kv", [4, 4, 4], "must be a positive whole number, got [4, 4, 4]"),
        ("attention.value_length", 8, "value_length 8 is not supported, only 12 is"),
        ("rope.dimension_count", 8, "llada.rope.dimension_count 8 is not supported, only 12 is"),
        ("rope.scaling.type", "yarn", "rope.scaling.type 'yarn' is not supported, only 'none' is"),
        ("expert_count", 8, "llada.expert_count 8 is not supported, only 0 is"),
        ("attention.sliding_window", 16, "sliding_window 16 is not supported"),
    ],
)
def test_metadata_that_is_missing_or_means_another_model(write, refused, key, value, told):
    path = write({f"llada.{key}": value})
    assert told in refused(path, "inspect")


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("eos_token_id", None, "eos_token_id is missing"),
        ("mask_token_id", None, "mask_token_id is missing"),
        ("mask_token_id", 64, "mask_token_id 64 is outside the vocabulary 0..63"),
        ("eos_token_id", 64, "eos_token_id 64 is outside the vocabulary 0..63"),
        ("model", None, "no tokenizer: tokenizer.ggml.model is missing; put the tokenizer.json"),
        ("model", "none", "no tokenizer: tokenizer.ggml.model 'none' is not one of gpt2, llama"),
        ("pre", "tekken", "tokenizer.ggml.pre 'tekken' is a way to split a text that is not known"),
        ("tokens", None, "tokenizer.ggml.tokens is missing; put the tokenizer.json"),
        ("tokens", [1, 2], "tokenizer.ggml.tokens must be a list of str; put the tokenizer.json"),
        ("tokens", [*TOKENS, "zz"], "tokenizer.ggml.token_type has 64 entries for 65 tokens"),
        ("merges", None, "tokenizer.ggml.merges is missing; put the tokenizer.json"),
        ("merges", ["a nowhere"], "Token `nowhere` out of vocabulary); put the tokenizer.json"),
        ("add_bos_token", 1, "tokenizer.ggml.add_bos_token must be true or false, got 1"),
    ],
)
def test_a_tokenizer_that_cannot_be_made(write, refused, key, value, told):
    assert told in refused(write({f"tokenizer.ggml.{key}": value}))


def test_texts_that_are_to_begin_with_a_token_that_nobody_names(write, refused):
    said = {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.bos_token_id": None}
    assert "tokenizer.ggml.bos_token_id is missing, but each text is to have it" in refused(
        write(said)
    )


def test_a_part_of_a_model(write, refused, tmp_path, stock):
    """By its name, or by what it says where it was renamed."""
    path = write(name="m-00001-of-00002.gguf")
    assert f"{path} is one part of a split GGUF; join the parts" in refused(path)
    assert "is one part of a split GGUF" in refused(write({"split.count": 2}))
    writer = gguf.GGUFWriter(tmp_path / "s.gguf", "llada", split_max_tensors=10)
    for name, array in arrays("llada", stock).items():
        writer.add_tensor(name, array)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    parts = sorted(tmp_path.glob("s-*.gguf"))
    assert len(parts) > 1
    for part in parts:
        assert "is one part of a split GGUF" in refused(part, "inspect")


def test_the_package_that_is_not_there(write, refused, monkeypatch):
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert 'needs the package gguf: pip install "hwsearch[gguf]"' in refused(write())


def test_a_plan_is_exported_for_llama_cpp(tmp_path, run):
    plan = tmp_path / "plan.json"
    layers = [{"attention": "w8", "mlp": "w4", "sink_threshold": 0.5}] * 6
    plan.write_text(CompressionPlan.validate({"layers": layers, "head": "w8"}).to_json())
    asked = ("export", "--model", "gsm-mini", "--plan", plan, "--to", "gguf")
    code, out, err = run(*asked, "-o", tmp_path / "out")
    assert code == 0, err
    assert f"{tmp_path / 'out' / 'model.gguf'}: 5.9 MB, for llama.cpp" in out
    assert "llama.cpp runs every pass whole" in out
    code, out, _ = run("inspect", tmp_path / "out", "--json")
    assert code == 0 and json.loads(out)["geometry"]["hidden_size"] == 320
    code, out, err = run(*asked, "-o", tmp_path / "out")
    assert code == 2 and "exists already" in err
    code, out, _ = run(*asked, "-o", tmp_path / "out", "--overwrite", "--json")
    assert code == 0 and json.loads(out)["size_bytes"] > 5_000_000


def test_a_format_that_llama_cpp_has_not_is_one_line(tmp_path, run):
    plan = tmp_path / "plan.json"
    plan.write_text(CompressionPlan.uniform(6, mlp="w8a8").to_json())
    code, out, err = run(
        "export", "--model", "gsm-mini", "--plan", plan, "--to", "gguf", "-o", tmp_path / "out"
    )
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert "no type of a GGUF file holds w8a8; it holds fp32, fp16, w8" in err
    assert not (tmp_path / "out").exists()
