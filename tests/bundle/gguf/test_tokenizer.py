"""Tokenizers in a GGUF file's keys: told where they can be, and left out where they cannot."""

from dataclasses import replace

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from tokenizers.processors import TemplateProcessing

from hwsearch.bundle.gguf import export_gguf
from hwsearch.bundle.gguf.tokenizer import TEXTS, is_told, tokenizer_fields
from hwsearch.compression import compress
from hwsearch.denoisers.chat.template import ChatTemplate
from hwsearch.denoisers.loading.gguf.byte_level import SPLITTINGS
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.plan import CompressionPlan
from hwsearch.testing.tiny import tiny_denoiser

pytest.importorskip("gguf")

ROWS = 700
MASK, END, BEGIN = "<|mask|>", "<|end|>", "<|begin|>"


def byte_level(pre, composed=False):
    """Byte-level BPE that splits as a way of llama.cpp's does; whatever else it may be, learnt here."""
    made = Tokenizer(BPE())
    if composed:
        made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(one), "isolated") for one in SPLITTINGS[pre].patterns),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    return trained(made, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())


def trained(made, **more):
    trainer = trainers.BpeTrainer(vocab_size=ROWS - 20, show_progress=False, **more)
    made.train_from_iterator(TEXTS * 3, trainer)
    made.add_tokens([AddedToken(text, special=True) for text in (MASK, END, BEGIN)])
    return made


def sentence_piece():
    raw = [f"<0x{value:02X}>" for value in range(256)]
    base = Tokenizer(BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    base.normalizer = normalizers.Sequence(
        [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
    )
    base.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )  # fmt: skip
    return trained(base, special_tokens=["<unk>", *raw])


def denoiser_of(tokenizer):
    ids = {text: tokenizer.token_to_id(text) for text in (MASK, END)}
    return replace(
        tiny_denoiser(vocab_size=ROWS),
        tokenizer=tokenizer,
        mask_token_id=ids[MASK],
        end_token_id=ids[END],
        end_token_ids=frozenset({ids[END]}),
    )


@pytest.mark.parametrize("pre", ["gpt-2", "llama-bpe", "qwen2", "smollm", "llada"])
def test_byte_level_tokenizers_are_told_and_read_back(pre, tmp_path):
    tokenizer = byte_level(pre, composed=pre == "qwen2")
    assert_comes_back(tokenizer, tmp_path)


def test_pieces_are_told_and_read_back(tmp_path):
    assert_comes_back(sentence_piece(), tmp_path)


def test_a_token_that_begins_each_text_is_told(tmp_path):
    tokenizer = byte_level("llada")
    begin = tokenizer.token_to_id(BEGIN)
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A", special_tokens=[(BEGIN, begin)]
    )
    fields = tokenizer_fields(denoiser_of(tokenizer))
    assert fields["tokenizer.ggml.bos_token_id"] == begin
    assert fields["tokenizer.ggml.add_bos_token"] and not fields["tokenizer.ggml.add_eos_token"]
    assert_comes_back(tokenizer, tmp_path)


def assert_comes_back(tokenizer, tmp_path):
    denoiser = denoiser_of(tokenizer)
    assert is_told(tokenizer_fields(denoiser))
    chat = ChatTemplate("{{ messages[0].content }}!")
    denoiser = replace(denoiser, chat=chat)
    export_gguf(compress(denoiser, CompressionPlan.uniform(2)), tmp_path / "out")
    assert not (tmp_path / "out" / "tokenizer.json").exists()
    again = load_denoiser(tmp_path / "out")
    for text in (*TEXTS, f"so {MASK}{MASK} it ends{END}"):
        assert again.tokenizer.encode(text).ids == tokenizer.encode(text).ids
    assert again.mask_token_id == denoiser.mask_token_id
    assert again.end_token_ids == denoiser.end_token_ids
    assert again.chat.source == chat.source


def test_another_way_to_split_is_not_told_as_one_of_these(tmp_path):
    made = Tokenizer(BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex("[aeiou]"), "isolated"), pre_tokenizers.ByteLevel(False, False)]
    )
    tokenizer = trained(made, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    denoiser = denoiser_of(tokenizer)
    assert not is_told(tokenizer_fields(denoiser))
    export_gguf(compress(denoiser, CompressionPlan.uniform(2)), tmp_path / "out")
    again = load_denoiser(tmp_path / "out").tokenizer
    assert again.encode(TEXTS[0]).ids == tokenizer.encode(TEXTS[0]).ids, "it lies beside the file"
