"""A tokenizer made of a GGUF header splits, merges and frames texts as the model's own does."""

from __future__ import annotations

import inspect
import json
import random
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers.convert_slow_tokenizer import TikTokenConverter

from hwsearch.denoisers.loading.gguf.byte_level import SPLITTINGS
from hwsearch.denoisers.loading.gguf.header import GgufHeader, read_header
from hwsearch.denoisers.loading.gguf.tokenizer import gguf_tokenizer
from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.denoisers.loading.loader import load_denoiser
from hwsearch.errors import CheckpointError
from tests.smollm2 import needed

transformers = pytest.importorskip("transformers")

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)

PAGES = sorted((Path(__file__).parents[3] / "docs").glob("*.md"))
ODD = [
    *("", " ", "  ", "\n", "\n\n\t  x", "a\r\nb\rc \n", " \n \n  a", "x" * 300, " " * 70, "0" * 40),
    "don't I'LL we'Re 'tis o'clock 'S'd 'mmm",
    "1234567 3.14 1,000 7up x86_64 ½ ² Ⅷ ٣٤٥",
    "é e\u0301 ñ 日本語 中文 한국어 العربية हिन्दी 🙂 a\u00a0b\u2003c\u200bd\u3000e",
    "f(x) = {[a+b]}; // !?... <|end|> $5~6^7|8 == `x`",
]


def texts():
    """Questions, prose, code and what a keyboard brings by chance."""
    rng = random.Random(0)
    alphabet = "abcst XYZ012\n\t\r  .,!?'\"()<|>_-+=*/éß日🙂½٣\u00a0\u3000\u0301'S"
    drawn = ["".join(rng.choices(alphabet, k=rng.randrange(60))) for _ in range(200)]
    pages = [page.read_text(encoding="utf-8") for page in PAGES]
    code = [path.read_text(encoding="utf-8") for path in sorted(Path(__file__).parent.glob("*.py"))]
    return [*ODD, *drawn, *pages, *code]


TEXTS = texts()


@pytest.fixture(scope="module")
def learnt():
    """A byte-level vocabulary whose merges cross every border that a text may be split at."""
    made = Tokenizer(BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        # pieces of ten characters: words, spaces, digits and marks in one
        [pre_tokenizers.Split(Regex(r"[\s\S]{1,10}"), "isolated"), pre_tokenizers.ByteLevel(False, False)]
    )  # fmt: skip
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    made.train_from_iterator(TEXTS, trainer)
    merges = [tuple(merge) for merge in json.loads(made.to_str())["model"]["merges"]]
    vocabulary = made.get_vocab()
    return sorted(vocabulary, key=vocabulary.__getitem__), merges


def header(tokens, kinds=None, **more):
    """A header that holds a tokenizer alone."""
    record = {"tokens": tokens, "token_type": kinds or [NORMAL] * len(tokens), **more}
    named = {f"tokenizer.ggml.{key}": value for key, value in record.items() if value is not None}
    return GgufHeader(Path("m.gguf"), Fields(named, "m.gguf"), {})


def byte_level(learnt, pre, extra=(), kinds=(), **more):
    tokens, merges = learnt
    return gguf_tokenizer(
        header(
            [*tokens, *extra],
            [*[NORMAL] * len(tokens), *kinds],
            model="gpt2",
            pre=pre,
            merges=[" ".join(pair) for pair in merges],
            **more,
        )
    )


def qwen2(vocabulary, merges):
    return transformers.Qwen2Tokenizer(vocab=vocabulary, merges=merges).backend_tokenizer


def gpt2(vocabulary, merges):
    return transformers.GPT2Tokenizer(vocab=vocabulary, merges=merges).backend_tokenizer


def llama3(vocabulary, merges):
    pattern = inspect.signature(TikTokenConverter).parameters["pattern"].default
    made = Tokenizer(BPE(vocabulary, merges, ignore_merges=True))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(pattern), "isolated"),
            pre_tokenizers.ByteLevel(False, use_regex=False),
        ]
    )
    return made


def smollm(vocabulary, merges):
    made = Tokenizer(BPE(vocabulary, merges))
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(False)]
    )
    return made


#: The special token that the stock classes add by themselves.
END = "<|endoftext|>"

STOCK = {"qwen2": qwen2, "gpt-2": gpt2, "llama-bpe": llama3, "smollm": smollm}


@pytest.mark.parametrize("pre", STOCK)
def test_texts_become_the_tokens_of_the_stock_tokenizer(learnt, pre):
    tokens, merges = learnt
    stock = STOCK[pre]({token: i for i, token in enumerate(tokens)}, merges)
    stock.add_special_tokens([END])
    ours = byte_level(learnt, pre, [END], [CONTROL], add_bos_token=False)
    for text in TEXTS:
        found = ours.encode(text).ids
        assert found == stock.encode(text, add_special_tokens=False).ids, text
        if pre != "qwen2":  # which composes characters first
            assert ours.decode(found, skip_special_tokens=False) == text


def test_ways_to_split_differ_where_they_should(learnt):
    """Else the comparison above would pass with any of them."""
    names = ("default", "gpt-2", "llama-bpe", "qwen2", "smollm", "llada")
    made = [byte_level(learnt, name, add_bos_token=False) for name in names]
    found = {tuple(i for text in TEXTS for i in one.encode(text).ids) for one in made}
    assert len(found) == len(names)


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("llada", "a\n\n  b1'S 23", ["a", "\n\n", " ", " b", "1", "'S", " ", "2", "3"]),
        ("llada", "x.\n\ny 'Ll", ["x", ".\n\n", "y", " '", "Ll"]),
        ("qwen2", "a\n\n  b1'S 23", ["a", "\n\n", " ", " b", "1", "'S", " ", "2", "3"]),
        ("llama-bpe", "in 2024 7!\n", ["in", " ", "202", "4", " ", "7", "!\n"]),
        ("default", "a12345!b  c 'll", ["a", "123", "45", "!", "b", " ", " c", " ", "'", "ll"]),
        ("default", "x<=y 1 22", ["x", "<=", "y", " ", "1", " ", "22"]),
        ("gpt-2", "a12345!b  c 'll", ["a", "12345", "!", "b", " ", " c", " '", "ll"]),
        ("smollm", "a123 45", ["a", "1", "2", "3", " ", "4", "5"]),
    ],
)
def test_where_texts_are_split(learnt, pre, text, pieces):
    split = byte_level(learnt, pre, add_bos_token=False).pre_tokenizer.pre_tokenize_str(text)
    assert [text[begin:end] for _, (begin, end) in split] == pieces


def test_names_that_mean_the_same(learnt):
    for pre, same in (("llama3", "llama-bpe"), ("bailingmoe", "llada"), ("starcoder", "smollm")):
        assert SPLITTINGS[pre] == SPLITTINGS[same]
    plain, default = (byte_level(learnt, pre) for pre in (None, "default"))
    assert plain.to_str() == default.to_str()


def test_special_tokens_are_kept_whole_and_unused_ones_left_out(learnt):
    extra = ["<|im_start|>", "<tool>", "[PAD2002]", "  "]
    kinds = [CONTROL, USER_DEFINED, UNUSED, USER_DEFINED]
    made = byte_level(learnt, "qwen2", extra, kinds)
    first = len(learnt[0])
    text = "a<|im_start|>b<tool>c[PAD2002]  d"
    found = made.encode(text)
    assert {first, first + 1, first + 3} <= set(found.ids) and first + 2 not in found.ids
    assert made.id_to_token(first + 2) is None
    assert made.decode(found.ids, skip_special_tokens=False) == text
    assert made.decode(found.ids) == text.replace("<|im_start|>", "")
    assert made.get_added_tokens_decoder()[first].special
    assert not made.get_added_tokens_decoder()[first + 1].special


@pytest.mark.parametrize(
    ("pre", "said", "begins", "ends"),
    [
        ("llama-bpe", {}, True, False),
        ("llama-bpe", {"add_bos_token": False}, False, False),
        ("qwen2", {}, False, False),
        ("llada", {"add_bos_token": True}, True, False),
        ("smollm", {"add_bos_token": True, "add_eos_token": True}, True, True),
    ],
)
def test_texts_are_framed_as_the_header_says(learnt, pre, said, begins, ends):
    first = len(learnt[0])
    roles = {"bos_token_id": first, "eos_token_id": first + 1}
    made = byte_level(learnt, pre, ["<s>", "</s>"], [CONTROL] * 2, **roles, **said)
    plain = made.encode("some text", add_special_tokens=False).ids
    whole = [first] * begins + plain + [first + 1] * ends
    assert made.encode("some text").ids == whole
    assert first not in plain and first + 1 not in plain


def test_a_piece_that_is_a_token_needs_no_merges(learnt):
    tokens, merges = learnt
    whole = [*tokens, "unmergeable"]
    assert byte_level((whole, merges), "llama-bpe", add_bos_token=False).encode(
        "unmergeable"
    ).ids == [len(tokens)]
    assert len(byte_level((whole, merges), "qwen2").encode("unmergeable").ids) > 1


# --- SentencePiece


@pytest.fixture(scope="module")
def pieces():
    """Tokens, kinds and scores as SentencePiece has them: bytes, then pieces, the best first."""
    made = Tokenizer(BPE())
    made.normalizer = normalizers.Replace(" ", "\u2581")
    made.pre_tokenizer = pre_tokenizers.Split(Regex("\u2581*[^\u2581]+"), "isolated")
    trainer = trainers.BpeTrainer(vocab_size=600, limit_alphabet=90, show_progress=False)
    made.train_from_iterator(TEXTS[:-20], trainer)
    learnt = [m[0] + m[1] for m in json.loads(made.to_str())["model"]["merges"]]
    single = sorted(token for token in made.get_vocab() if len(token) == 1)
    raw = [f"<0x{value:02X}>" for value in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *raw, *dict.fromkeys([*learnt, *single])]
    kinds = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256]
    kinds += [NORMAL] * (len(tokens) - len(kinds))
    scores = [0.0] * 259 + [-float(i) for i in range(len(tokens) - 259)]
    return tokens, kinds, scores


def sentence_piece(pieces, **more):
    tokens, kinds, scores = pieces
    roles = {"bos_token_id": 1, "eos_token_id": 2, "unknown_token_id": 0}
    return gguf_tokenizer(header(tokens, kinds, model="llama", scores=scores, **roles, **more))


def joined(text, pieces):
    """What SentencePiece does: join the neighbours of the best score, the first such, while there are any."""
    tokens, kinds, scores = pieces
    known = {t: i for i, (t, kind) in enumerate(zip(tokens, kinds, strict=True)) if kind == NORMAL}
    parts = list(text)
    while True:
        pairs = [
            (-scores[known[a + b]], i) for i, (a, b) in enumerate(pairwise(parts)) if a + b in known
        ]
        if not pairs:
            break
        i = min(pairs)[1]
        parts[i : i + 2] = [parts[i] + parts[i + 1]]
    return [
        i
        for part in parts
        for i in ([known[part]] if part in known else [3 + value for value in part.encode()])
    ]


@pytest.mark.parametrize("spaced", [True, False])
def test_pieces_are_joined_as_sentence_piece_joins_them(pieces, spaced):
    made = sentence_piece(pieces, add_space_prefix=spaced)
    for text in (t for t in TEXTS if t and len(t) < 2000):
        wanted = joined((("\u2581" if spaced else "") + text).replace(" ", "\u2581"), pieces)
        found = made.encode(text).ids
        assert found == [1, *wanted], text
        assert made.decode(found) == text


def test_pieces_begin_with_a_token_unless_the_header_says(pieces):
    assert sentence_piece(pieces).encode("").ids == [1]
    assert sentence_piece(pieces, add_bos_token=False).encode("").ids == []
    found = sentence_piece(pieces).encode("a</s>b", add_special_tokens=False).ids
    assert found.count(2) == 1


def test_pieces_without_scores_are_refused(pieces):
    tokens, kinds, scores = pieces
    with pytest.raises(CheckpointError, match=r"m\.gguf: tokenizer\.ggml\.scores is missing"):
        gguf_tokenizer(header(tokens, kinds, model="llama"))
    with pytest.raises(CheckpointError, match="scores has 3 entries for"):
        gguf_tokenizer(header(tokens, kinds, model="llama", scores=scores[:3]))


# --- a real file


def test_a_real_files_tokenizer_is_that_of_its_vocabulary():
    """Texts give what digits, words and merges give that are put together by hand."""
    read = read_header(needed())
    tokens = read.metadata.get("tokenizer.ggml.tokens")
    merges = [tuple(merge.split(" ")) for merge in read.metadata.get("tokenizer.ggml.merges")]
    stock = smollm({token: i for i, token in enumerate(tokens)}, merges)
    stock.decoder = decoders.ByteLevel()
    kinds = read.metadata.get("tokenizer.ggml.token_type")
    stock.add_special_tokens([t for t, k in zip(tokens, kinds, strict=True) if k == CONTROL])
    ours = gguf_tokenizer(read)
    chats = [
        "<|im_start|>user\nhi<|im_end|>\n<|endoftext|>",
        "<|im_start|",
        "<repo_name>a<file_sep>",
    ]
    for text in [*TEXTS, *chats]:
        found = ours.encode(text).ids
        assert found == stock.encode(text).ids, text
        assert ours.decode(found, skip_special_tokens=False) == text


@pytest.mark.slow
def test_a_real_file_computes_what_transformers_makes_of_it():
    path = needed()
    stock = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent, gguf_file=path.name, dtype=torch.float32
    )
    ours = load_denoiser(path, causal=True)
    tokens = torch.tensor([ours.tokenizer.encode("Tom has 3 apples and buys 5 more.").ids])
    with torch.inference_mode():
        wanted = stock.eval()(input_ids=tokens).logits
    assert (ours.logits(tokens)[:, 1:] - wanted[:, :-1]).abs().max() <= 1e-3
    assert ours.chat is not None and ours.chat.ask("hi").endswith("<|im_start|>assistant\n")
