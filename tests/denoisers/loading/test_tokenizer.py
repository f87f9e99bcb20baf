from __future__ import annotations

import json

import pytest
from tokenizers import Regex
from tokenizers.pre_tokenizers import ByteLevel, Split

from hwsearch.denoisers.loading.tokenizer import read_tokenizer
from hwsearch.errors import CheckpointError
from hwsearch.testing.tiny import tiny_tokenizer


def test_tokenizer_json_is_read_as_it_is(tmp_path):
    tiny_tokenizer().save(str(tmp_path / "tokenizer.json"))
    assert read_tokenizer(tmp_path).get_vocab() == tiny_tokenizer().get_vocab()


def test_vocabulary_and_merges_are_read_as_qwen2s(tmp_path):
    pytest.importorskip("transformers")
    pieces = [*sorted(ByteLevel.alphabet()), "\u0120h", "\u0120ha", "\u0120has", "<|endoftext|>"]
    (tmp_path / "vocab.json").write_text(json.dumps({p: i for i, p in enumerate(pieces)}))
    (tmp_path / "merges.txt").write_text(
        "#version: 0.2\n\u0120 h\n\u0120h a\n\u0120ha s\n", encoding="utf-8"
    )
    added = {str(len(pieces)): {"content": "<|mask|>", "special": True}}
    settings = {"tokenizer_class": "DreamTokenizer", "added_tokens_decoder": added}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = read_tokenizer(tmp_path)
    tokens = tokenizer.encode("Tom has 12<|mask|>").tokens
    assert tokens == ["T", "o", "m", "\u0120has", "\u0120", "1", "2", "<|mask|>"]
    assert tokenizer.decode(tokenizer.encode("Tom has 12").ids) == "Tom has 12"


def test_damaged_or_missing_tokenizer(tmp_path):
    with pytest.raises(CheckpointError, match=r"tokenizer\.json is missing"):
        read_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="tokenizers refuses it"):
        read_tokenizer(tmp_path)


def test_a_tokenizer_whose_patterns_are_meant_to_be_slow_is_refused(tmp_path):
    """Each letter takes a million ways to fail, too few for the library to give up."""
    tokenizer = tiny_tokenizer()
    tokenizer.pre_tokenizer = Split(Regex(r"(?:.|..){1,20}?[^\s\S]"), "isolated")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"its patterns take longer than 0\.25 s to split"):
        read_tokenizer(tmp_path)
