"""Where an answer ends, held to a reference that works on characters instead of tokens."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest
from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers
from tokenizers.models import BPE, WordLevel

from hwsearch.decoding.answer import answer_text, cut, end_token_ids, partial_text

SPECIAL = ("<eot>", "<|im_end|>", "</s>", "<pad>")
WORDS = (
    "tom",
    " tom",
    " has",
    "Quest",
    "ion:",
    "\n",
    "\n\n",
    " ####",
    " 18",
    "Q",
    ":",
    "é",
    " x#y",
)
EOT, IM_END, SLASH_S = 0, 1, 2


def fused(words=WORDS) -> Tokenizer:
    """A word a token, decoded by joining."""
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *words))}
    tokenizer = Tokenizer(WordLevel(vocabulary, unk_token="<pad>"))
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    return tokenizer


def bytewise() -> Tokenizer:
    """A byte a token, as byte-level BPE falls back to: most characters take several."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {word: index for index, word in enumerate((*SPECIAL, *alphabet))}
    tokenizer = Tokenizer(BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(text, special=True) for text in SPECIAL])
    return tokenizer


def metaspace() -> Tokenizer:
    """Llama-2's and Mistral's way: a mark for a space, and the first space dropped."""
    words = [word.replace(" ", "▁") for word in WORDS]
    tokenizer = fused(words)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def expected(pieces: list[str], ends: set[str], stops: list[str]) -> str:
    """The rule on characters: cut where special tokens still stand, then take those away."""
    text = "".join(pieces)
    marks = [piece in SPECIAL for piece in pieces for _ in piece]
    kept = len(cut(text, (*stops, *ends)))
    clean = "".join(c for c, special in zip(text[:kept], marks, strict=False) if not special)
    return cut(clean, (*stops, *ends))


def test_the_stop_of_a_task_that_is_a_special_token_cuts_before_it_is_dropped():
    tokenizer = fused()
    tokens = [tokenizer.token_to_id(t) for t in (" ####", " 18", "<|im_end|>", " tom", " 18")]
    stops = ("Question:", "</s>", "<|im_end|>")
    assert answer_text(tokenizer, tokens, [EOT], stops) == " #### 18"
    assert answer_text(tokenizer, tokens, [EOT]) == " #### 18 tom 18"
    assert answer_text(tokenizer, tokens, [EOT, IM_END]) == " #### 18"


@pytest.mark.parametrize(
    ("pieces", "stops", "text"),
    [
        ([" tom", "<pad>", " has", "</s>", " 18"], ["</s>"], " tom has"),
        ([" tom", "<|im_end|>", "\n", " has"], ["<|im_end|>\n"], " tom"),  # a stop that holds one
        ([" tom", "\n", "<|im_end|>", " has"], ["\n<|im_end|>"], " tom"),
        ([" tom", " x#y", " has"], ["#y"], " tom x"),  # begins inside a token
        ([" tom", "Quest", "ion:", " has"], ["Question:"], " tom"),  # takes two
        ([" tom", "Quest", "<pad>", "ion:", " has"], ["Question:"], " tom"),  # parted by padding
        ([" tom", "\n\n", "Q", ":"], ["Q:", "\n"], " tom"),
        (["Q", ":", " tom"], ["Q:"], ""),
        (["<|im_end|>", " tom"], ["<|im_end|>"], ""),
        ([" tom", "<|im_end|>", " has"], ["im_end"], " tom"),  # begins inside a special token
        ([" tom", " has"], ["", "nowhere"], " tom has"),
        ([" tom", "\n", "<eot>", " has"], ["\n<eot>"], " tom"),  # ends with the end token
        ([" tom", "<eot>", "Q", ":"], ["Q:"], " tom"),
        ([], ["Q:"], ""),
        (["<pad>", "<pad>"], [], ""),
    ],
)
def test_siblings_of_it(pieces, stops, text):
    tokenizer = fused()
    tokens = [tokenizer.token_to_id(piece) for piece in pieces]
    assert answer_text(tokenizer, tokens, [EOT], stops) == text


@pytest.mark.parametrize("make", [fused, bytewise])
def test_random_answers_end_where_their_characters_say(make):
    tokenizer, rng = make(), random.Random(3)
    pool = (
        "Question:",
        "Q:",
        "\n\n",
        "\n",
        "é",
        "#y",
        "<|im_end|>",
        "</s>\n",
        " 18",
        "🙂",
        "tom\n",
    )
    differing = 0
    for _ in range(400):
        words = (*SPECIAL, *WORDS) if make is fused else (*SPECIAL, *WORDS, "🙂", "日本")
        pieces = rng.choices(words, k=rng.randrange(12))
        stops = rng.sample(pool, rng.randrange(4))
        ends = set(rng.sample(SPECIAL[:3], rng.randrange(1, 3)))
        ids = [i for p in pieces for i in tokenizer.encode(p, add_special_tokens=False).ids]
        if make is fused:
            ids = [tokenizer.token_to_id(piece) for piece in pieces]
        found = answer_text(tokenizer, ids, [tokenizer.token_to_id(end) for end in ends], stops)
        assert found == expected(pieces, ends, stops), (pieces, ends, stops)
        differing += found != tokenizer.decode(ids)
    assert differing > 100


def test_a_decoder_that_drops_the_first_space_drops_it_alike_before_a_cut():
    tokenizer = metaspace()
    tokens = [tokenizer.token_to_id(t) for t in ("▁tom", "▁has", "<|im_end|>", "▁18")]
    assert answer_text(tokenizer, tokens, [EOT], ["<|im_end|>"]) == "tom has"
    assert answer_text(tokenizer, tokens, [EOT], ["has"]) == "tom "
    assert answer_text(tokenizer, tokens, [EOT], [" has"]) == "tom"
    assert answer_text(tokenizer, [IM_END, *tokens], [EOT], ["as"])[:1] in ("", "t", " ")


def test_a_tokenizer_that_joins_words_by_spaces_is_cut_as_its_text_reads():
    tokenizer = fused(("tom", "has", "18"))
    tokenizer.decoder = None
    tokens = [tokenizer.token_to_id(t) for t in ("tom", "<pad>", "has", "</s>", "18")]
    assert answer_text(tokenizer, tokens, [EOT], ["as"]) == "tom h"
    assert answer_text(tokenizer, tokens, [EOT], ["</s>"]).rstrip() == "tom has"
    assert answer_text(tokenizer, tokens, [EOT, SLASH_S]) == "tom has"


def test_an_end_token_counts_however_it_was_spelt():
    tokenizer = bytewise()
    spelt = [i for c in "<eot>" for i in tokenizer.encode(c).ids]
    tokens = [*tokenizer.encode("18").ids, *spelt, *tokenizer.encode("77").ids]
    assert EOT not in tokens
    assert answer_text(tokenizer, tokens, [EOT]) == "18"


def test_an_ordinary_word_that_ends_answers_does_so_as_a_token_alone():
    tokenizer = fused(("tom", "tom's", " has"))
    tom, toms, has = (tokenizer.token_to_id(word) for word in ("tom", "tom's", " has"))
    assert answer_text(tokenizer, [has, toms, has, tom, has], [tom]) == " hastom's has"


@pytest.mark.parametrize(
    ("text", "stops", "left"),
    [
        ("7\nQ: next Question: x", ("Question:", "Q:"), "7\n"),
        ("7", ("Q:",), "7"),
        ("Q: again", ("Q:", ""), ""),
        ("7\n\n\n w", ("\n w", "\n\n\n"), "7"),  # the second is complete first
        ("7xab", ("b", "ab"), "7xa"),  # complete together: in their order
        ("7xab", ("ab", "b"), "7x"),
        ("7xabc", ("abc", "b"), "7xa"),  # a decoder would have stopped before the c
    ],
)
def test_cut_leaves_what_a_decoder_that_stops_would_have_written(text, stops, left):
    assert cut(text, stops) == left


def test_models_with_one_end_token_and_with_several():
    assert end_token_ids(SimpleNamespace(end_token_id=3)) == {3}
    assert end_token_ids(SimpleNamespace(end_token_id=3, end_token_ids=(7, 3))) == {3, 7}


def test_an_answer_that_is_being_written_shows_its_masks():
    tokenizer = fused()
    tom, has = (tokenizer.token_to_id(word) for word in ("tom", " has"))
    pad = tokenizer.token_to_id("<pad>")

    def shown(*tokens, stops=()):
        return partial_text(tokenizer, tokens, pad, {EOT}, stops)

    assert shown(pad, pad, pad) == "░░░"
    assert shown(tom, pad, has, pad) == "tom░ has░"
    # an end token that stands already ends what is shown, masks before it stay
    assert shown(tom, pad, EOT, has) == "tom░"
    assert shown(tom, pad, IM_END, has) == "tom░ has"
    assert shown(tom, pad, IM_END, has, stops=("<|im_end|>",)) == "tom░"
    # the mask is called <pad>, which no stop may find
    assert shown(tom, pad, has, stops=("p", "<")) == "tom░ has"


@pytest.mark.parametrize("make", [fused, bytewise, metaspace])
def test_what_is_written_is_shown_as_the_answer_will_be(make):
    tokenizer, rng = make(), random.Random(0)
    size = tokenizer.get_vocab_size()
    for _ in range(200):
        tokens = [rng.randrange(len(SPECIAL), size) for _ in range(8)]
        tokens.insert(rng.randrange(9), EOT)
        assert partial_text(tokenizer, tokens, size, {EOT}) == answer_text(tokenizer, tokens, {EOT})
