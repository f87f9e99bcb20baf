"""Tokenizers give the ids that stock transformers gives, over generated folders.

Each folder is drawn from a seed: its pipeline, what was saved with it by accident, and which of
its files name which added and special tokens, also tokens that its vocabulary lacks.
"""

from __future__ import annotations

import json
import random

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE, WordLevel
from tokenizers.processors import TemplateProcessing

from hwsearch.denoisers.loading.special_tokens import NAMES, read_special_tokens
from hwsearch.denoisers.loading.tokenizer import read_tokenizer
from hwsearch.errors import CheckpointError

transformers = pytest.importorskip("transformers")

WORDS = [
    "<unk>",
    "<bos>",
    "<eos>",
    "<mask>",
    "<pad>",
    "</s>",
    "tom",
    "has",
    "apples",
    "3",
    "?",
    "new",
    "End",
]
#: Tokens that no vocabulary holds.
NEW = ["<|im_end|>", "<|eot_id|>", "[NEW]", "<img>", "ap", "Apples", "<extra>"]
TEXTS = [
    "tom has 3 apples ?",
    "  tom<bos>has  [NEW] apples <|im_end|> ? <mask></s>tom ap Apples <img><extra>",
    "<eos> <|eot_id|>\ntom 33 apples has?",
    "",
    "nobody knows <pad> <pad>tom <|im_end|>has",
]
SEEDS = range(80)


def words(rng):
    tokenizer = Tokenizer(WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    if rng.random() < 0.3:
        tokenizer.normalizer = normalizers.Lowercase()
    return tokenizer


def pieces(rng):
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*alphabet, "to", "tom", "\u0120h", "\u0120ha", "\u0120has", *WORDS[1:5]]
    merges = [("t", "o"), ("to", "m"), ("\u0120", "h"), ("\u0120h", "a"), ("\u0120ha", "s")]
    tokenizer = Tokenizer(BPE({p: i for i, p in enumerate(vocabulary)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=rng.random() < 0.5)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def record(rng, text, typed):
    """A token as an object, as transformers or its earlier versions save it."""
    flags = {name: rng.random() < 0.3 for name in ("lstrip", "rstrip", "single_word", "normalized")}
    token = {"content": text, **flags, "special": rng.random() < 0.7}
    return {"__type": "AddedToken", **token} if typed else token


def spoil(rng, tokenizer):
    """Settings that are saved with a tokenizer and are not the model's."""
    if rng.random() < 0.4:
        tokenizer.enable_truncation(rng.choice([1, 3, 6]), direction=rng.choice(["left", "right"]))
    if rng.random() < 0.4:
        tokenizer.enable_padding(
            length=rng.choice([None, 16]), pad_id=4, pad_token=rng.choice(["<pad>", "[PADDED]"])
        )
    if rng.random() < 0.4:
        ends = [
            ("<bos>", tokenizer.token_to_id("<bos>")),
            ("<eos>", tokenizer.token_to_id("<eos>")),
        ]
        single = rng.choice(["<bos> $A", "$A <eos>", "<bos> $A <eos>"])
        tokenizer.post_processor = TemplateProcessing(single=single, special_tokens=ends)
    for text in rng.sample([*WORDS[1:6], *NEW], rng.randrange(6)):
        special = rng.random() < 0.6
        token = AddedToken(text, lstrip=rng.random() < 0.2, special=special)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])


def settings_of(rng, tokens, typed):
    """Fields that name special tokens, of either of two files."""
    found = {}
    for name in rng.sample(NAMES, rng.randrange(len(NAMES))):
        text = rng.choice(tokens)
        found[name] = rng.choice(
            [text, record(rng, text, typed), None] if typed else [text, record(rng, text, typed)]
        )
    kind = rng.choice(["additional_special_tokens", "extra_special_tokens", None])
    if kind:
        found[kind] = rng.sample(tokens, rng.randrange(3))
    return found


def folder_of(path, seed):
    """A folder drawn from a seed."""
    rng = random.Random(seed)
    tokenizer = rng.choice([words, pieces])(rng)
    spoil(rng, tokenizer)
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "config.json").write_text(
        json.dumps({"model_type": rng.choice(["llama", "llada", "Dream"])})
    )
    tokens, size = [*WORDS[1:6], *NEW], tokenizer.get_vocab_size()
    if rng.random() < 0.8:
        settings = {"tokenizer_class": "PreTrainedTokenizerFast", **settings_of(rng, tokens, True)}
        if rng.random() < 0.3:
            settings |= {"add_bos_token": True, "add_eos_token": rng.random() < 0.5}
        if rng.random() < 0.3:
            settings["image_token"] = rng.choice(tokens)
        if rng.random() < 0.2:
            settings["extra_special_tokens"] = {"video_token": "<img>", "note_token": "tom"}
        if rng.random() < 0.4:
            held = {str(i): t for i, t in enumerate(rng.sample(tokens, 3), size - 1)}
            settings["added_tokens_decoder"] = {i: record(rng, t, False) for i, t in held.items()}
        (path / "tokenizer_config.json").write_text(json.dumps(settings))
    if rng.random() < 0.5:
        special = settings_of(rng, tokens, False)
        (path / "special_tokens_map.json").write_text(json.dumps(special))
    if rng.random() < 0.4:
        added = {text: size - 1 + i for i, text in enumerate(rng.sample(tokens, 2))}
        (path / "added_tokens.json").write_text(json.dumps(added))
    return path


@pytest.mark.parametrize("seed", SEEDS)
def test_a_folder_gives_the_ids_of_transformers(tmp_path, seed):
    folder = folder_of(tmp_path, seed)
    stock = transformers.AutoTokenizer.from_pretrained(folder)
    ours = read_tokenizer(folder)
    assert ours.get_vocab() == stock.get_vocab()
    assert read_special_tokens(folder).texts() == stock.special_tokens_map
    for text in TEXTS:
        for special in (True, False):
            wanted = stock(text, add_special_tokens=special)["input_ids"]
            found = ours.encode(text, add_special_tokens=special).ids
            assert found == wanted, text
            for skip in (True, False):
                assert ours.decode(found, skip) == stock.decode(found, skip_special_tokens=skip)


def test_a_saved_tokenizer_stays_as_it_was_read(tmp_path):
    """A bundle carries what was read, not the folder's settings."""
    for seed in range(20):
        (folder := tmp_path / str(seed)).mkdir()
        ours = read_tokenizer(folder_of(folder, seed))
        ours.save(str(folder / "bundle.json"))
        again = Tokenizer.from_file(str(folder / "bundle.json"))
        assert again.truncation is None
        assert again.padding is None
        for text in TEXTS:
            assert again.encode(text).ids == ours.encode(text).ids


@pytest.mark.parametrize(
    ("file", "record", "pattern"),
    [
        ("tokenizer_config.json", {"bos_token": 3}, "bos_token must be text, or an object"),
        ("tokenizer_config.json", {"mask_token": {"text": "x"}}, "mask_token must be text"),
        ("tokenizer_config.json", {"added_tokens_decoder": [1]}, "added_tokens_decoder must be"),
        ("tokenizer_config.json", {"added_tokens_decoder": {"x": {}}}, "a token object by its id"),
        ("tokenizer_config.json", {"extra_special_tokens": 5}, "must be a list or an object"),
        ("tokenizer_config.json", {"extra_special_tokens": [5]}, "must be text, or an object"),
        ("tokenizer_config.json", {"split_special_tokens": True}, "set it to false"),
        ("special_tokens_map.json", {"eos_token": {"content": 1}}, "eos_token must be text"),
        (
            "special_tokens_map.json",
            {"eos_token": {"content": "x", "lstrip": "no"}},
            "a token's fields",
        ),
        ("added_tokens.json", {"x": "1"}, "must have a token id"),
        ("added_tokens.json", [], "must hold a JSON object"),
    ],
)
def test_malformed_files_are_named(tmp_path, file, record, pattern):
    words(random.Random(0)).save(str(tmp_path / "tokenizer.json"))
    (tmp_path / file).write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=rf"{file}\b.*{pattern}") as caught:
        read_tokenizer(tmp_path)
    assert "\n" not in str(caught.value)
