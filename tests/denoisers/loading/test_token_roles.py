"""Which tokens end an answer and which is the mask, by every file of a folder that may say so."""

from __future__ import annotations

import json

import pytest
from tokenizers import AddedToken

from hwsearch.denoisers.loading.config import parse_config
from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.denoisers.loading.tokenizer import read_tokenizer
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import CheckpointError, InputError
from hwsearch.testing.tiny import tiny_tokenizer
from tests.denoisers.checkpoints import VOCAB, stock_config, write

#: Special tokens of the folders below, by id; the vocabulary has room for all of them.
HELD = {"<|im_end|>": 60, "<|eot_id|>": 61, "<|mask|>": 62, "</s>": 63}
CHAT = {60, 61}


@pytest.fixture(scope="module")
def weights():
    return Transformer(parse_config(Fields(stock_config("llama"), "config")).geometry).state_dict()


def folder_of(path, weights, *, config=None, generation=None, settings=None, held=()):
    """A folder of these files; its tokenizer holds some of `HELD` under their ids."""
    record = {
        k: v for k, v in stock_config("llama").items() if k not in ("eos_token_id", "mask_token_id")
    }
    folder = write(path, record | (config or {}), weights)
    tokenizer = tiny_tokenizer(60)
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in held])
    tokenizer.save(str(folder / "tokenizer.json"))
    for name, content in {"generation_config": generation, "tokenizer_config": settings}.items():
        if content is not None:
            (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


MASK = {"mask_token_id": 0}
#: What the files say, and the ends of an answer: the one that fills first, then all.
ENDS = {
    "config, one": ({"config": {"eos_token_id": 7}}, 7, {7}),
    "config, a list": ({"config": {"eos_token_id": [7, 9]}}, 7, {7, 9}),
    "generation config wins": ({"config": {"eos_token_id": 7}, "generation": {"eos_token_id": 9}}, 9, {9}),
    "generation config, a list": ({"generation": {"eos_token_id": [9, 5, 9]}}, 9, {5, 9}),
    "generation config says nothing": ({"config": {"eos_token_id": 7}, "generation": {}}, 7, {7}),
    "generation config says null": (
        {"config": {"eos_token_id": [7]}, "generation": {"eos_token_id": None}}, 7, {7},
    ),
    "an empty list": ({"config": {"eos_token_id": 7}, "generation": {"eos_token_id": []}}, 7, {7}),
    "the tokenizer's too": (
        {"config": {"eos_token_id": 7}, "settings": {"eos_token": "<|im_end|>"}, "held": ["<|im_end|>"]},
        7, {7, 60},
    ),
    "the tokenizer's alone": (
        {"settings": {"eos_token": {"__type": "AddedToken", "content": "</s>"}}, "held": ["</s>"]}, 60, {60},
    ),
    "turns of a chat": ({"config": {"eos_token_id": 7}, "held": HELD}, 7, {7, *CHAT}),
    "turns alone": ({"held": ["<|eot_id|>"]}, 60, {60}),
    "a tokenizer's beyond the model": (
        {"config": {"eos_token_id": 7}, "settings": {"eos_token": "<new>"}, "held": HELD}, 7, {7, *CHAT},
    ),
    "zero": ({"config": {"eos_token_id": 0, "mask_token_id": 3}}, 0, {0}),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_every_token_that_ends_an_answer_is_known(tmp_path, weights, name):
    files, first, every = ENDS[name]
    files = files | {"config": MASK | files.get("config", {})}
    loaded = load_denoiser(folder_of(tmp_path / "m", weights, **files))
    assert loaded.end_token_id == first
    assert loaded.end_token_ids == every


def test_a_given_end_fills_and_the_others_still_end(tmp_path, weights):
    folder = folder_of(tmp_path / "m", weights, config=MASK | {"eos_token_id": [7, 9]})
    loaded = load_denoiser(folder, end_token_id=4)
    assert (loaded.end_token_id, loaded.end_token_ids) == (4, {4, 7, 9})


@pytest.mark.parametrize("file", ["config", "generation"])
@pytest.mark.parametrize(
    ("value", "told"),
    [
        (-1, "must be a token id, or a list of them, got -1"),
        (True, "must be a token id, or a list of them, got True"),
        (7.0, "must be a token id, or a list of them, got 7.0"),
        ("7", "must be a token id, or a list of them, got '7'"),
        ([7, None], "must be a token id, or a list of them"),
        ([[7]], "must be a token id, or a list of them"),
        ({"id": 7}, "must be a token id, or a list of them"),
        (VOCAB, rf"{VOCAB} is outside the vocabulary 0\.\.{VOCAB - 1}"),
        ([7, 126081], r"126081 is outside the vocabulary"),
    ],
)
def test_what_is_no_token_is_refused_by_file_and_value(tmp_path, weights, file, value, told):
    files = {"config": MASK, file: MASK | {"eos_token_id": value}}
    folder = folder_of(tmp_path / "m", weights, **files)
    name = {"config": "config", "generation": "generation_config"}[file]
    with pytest.raises(CheckpointError, match=rf"/{name}\.json: eos_token_id {told}") as caught:
        load_denoiser(folder)
    assert "\n" not in str(caught.value)


def test_a_model_without_any_end_asks_for_one(tmp_path, weights):
    folder = folder_of(tmp_path / "m", weights, config=MASK)
    with pytest.raises(CheckpointError, match=r"eos_token_id is missing.*end_token_id="):
        load_denoiser(folder)
    assert load_denoiser(folder, end_token_id=5).end_token_ids == {5}


#: What the files say, and the mask.
MASKS = {
    "config": ({"config": MASK, "generation": {"mask_token_id": 5}}, 0),
    "generation config": (
        {"generation": {"mask_token_id": 5}, "settings": {"mask_token": "<|mask|>"}, "held": HELD}, 5,
    ),
    "tokenizer": ({"settings": {"mask_token": "<|mask|>"}, "held": ["<|im_end|>", "<|mask|>"]}, 61),
    "tokenizer, an object": (
        {"settings": {"mask_token": {"content": "<|mask|>"}}, "held": ["<|mask|>"]}, 60,
    ),
    "tokenizer, a new token": ({"settings": {"mask_token": "<new>"}}, 60),
    "added_tokens_decoder": (
        {"settings": {"mask_token": "<m>", "added_tokens_decoder": {"60": {"content": "<m>"}}}}, 60,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
def test_the_mask_is_found_in_whichever_file_names_it(tmp_path, weights, name):
    files, mask = MASKS[name]
    files = files | {"config": {"eos_token_id": 7} | files.get("config", {})}
    assert load_denoiser(folder_of(tmp_path / "m", weights, **files)).mask_token_id == mask


def test_the_special_tokens_map_names_the_mask_too(tmp_path, weights):
    folder = folder_of(tmp_path / "m", weights, config={"eos_token_id": 7}, held=["<|mask|>"])
    (folder / "special_tokens_map.json").write_text(
        json.dumps({"mask_token": {"content": "<|mask|>"}})
    )
    assert load_denoiser(folder).mask_token_id == 60


def test_a_mask_beyond_the_vocabulary_is_refused(tmp_path, weights):
    files = {"config": {"eos_token_id": 7}, "settings": {"mask_token": "<new>"}, "held": list(HELD)}
    with pytest.raises(CheckpointError, match="mask_token_id 64 is outside the vocabulary"):
        load_denoiser(folder_of(tmp_path / "m", weights, **files))


def test_an_autoregressive_model_needs_no_mask(tmp_path, weights):
    folder = folder_of(tmp_path / "m", weights, settings={"eos_token": "</s>"}, held=["</s>"])
    loaded = load_denoiser(folder, causal=True)
    assert loaded.mask_token_id == loaded.end_token_id == 60


def test_tokens_that_the_model_has_no_row_for_are_refused_when_they_are_used(tmp_path, weights):
    """A padding token that was added after training is common, and harms nobody who does not use it."""
    files = {"config": MASK | {"eos_token_id": 7}, "settings": {"pad_token": "[PAD]"}, "held": HELD}
    loaded = load_denoiser(folder_of(tmp_path / "m", weights, **files))
    assert max(loaded.prompt("4 + 4 ?")) < VOCAB
    with pytest.raises(InputError, match=rf"token {VOCAB} is outside .* 0\.\.{VOCAB - 1}"):
        loaded.prompt("4 + [PAD] ?")


def test_a_vocabulary_may_be_padded_beyond_the_tokenizer(tmp_path, weights):
    files = {"config": MASK | {"eos_token_id": 7}}
    folder = folder_of(tmp_path / "m", weights, **files)
    assert len(read_tokenizer(folder).get_vocab()) < load_denoiser(folder).geometry.vocab_size
