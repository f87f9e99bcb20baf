"""Byte-level BPE (``tokenizer.ggml.model`` is ``gpt2``): merges, and how a text is split before them."""

from __future__ import annotations

from dataclasses import dataclass

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from hwsearch.denoisers.loading.gguf.header import GgufHeader
from hwsearch.denoisers.loading.gguf.vocabulary import (
    INSTEAD,
    TokenKind,
    Vocabulary,
    read_list,
)

_DIGIT = r"\p{N}"
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def _words(digits: str) -> str:
    """What newer models split a text into: a mark before letters joins them, line ends follow marks."""
    parts = [
        "(?i:'s|'t|'re|'ve|'m|'ll|'d)",
        r"[^\r\n\p{L}\p{N}]?\p{L}+",
        digits,
        r" ?[^\s\p{L}\p{N}]+[\r\n]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    ]
    return "|".join(parts)


@dataclass(frozen=True)
class Splitting:
    """What is done to a text before merges, which the header only names.

    Attributes:
        patterns: each splits what the one before left, into its matches and what lies between them.
        whole_words: take a piece that is a token without asking the merges.
        begins: whether texts begin with a token where the header does not say.
        composed: whether characters are composed first (Unicode's NFC).
    """

    patterns: tuple[str, ...]
    whole_words: bool = False
    begins: bool = False
    composed: bool = False


_LLAMA3 = Splitting((_words(r"\p{N}{1,3}"),), whole_words=True, begins=True)
_QWEN2 = Splitting((_words(_DIGIT),), composed=True)
_LLADA = Splitting((_words(_DIGIT),))  # its own pattern reads otherwise and matches the same
_SMOLLM = Splitting((_DIGIT, _GPT2))
_DEFAULT = Splitting((r"[\p{P}\$\+<=>\^~\|]+", _GPT2, r"\p{N}+", "[0-9][0-9][0-9]"))

#: How a text is split, by ``tokenizer.ggml.pre``: the patterns of these models' own ``tokenizer.json``.
SPLITTINGS = {
    "default": _DEFAULT,
    "gpt-2": Splitting((_GPT2,)),
    "phi-2": Splitting((_GPT2,)),
    "llama-bpe": _LLAMA3,
    "llama3": _LLAMA3,
    "llama-v3": _LLAMA3,
    "qwen2": _QWEN2,
    "smollm": _SMOLLM,
    "starcoder": _SMOLLM,
    "refact": _SMOLLM,
    "llada": _LLADA,
    "llada-moe": _LLADA,
    "bailingmoe": _LLADA,
    "bailingmoe2": _LLADA,
}


def byte_level_tokenizer(header: GgufHeader, vocabulary: Vocabulary) -> tuple[Tokenizer, bool]:
    """A byte-level BPE, and whether its texts begin with a token unless the header says.

    Raises:
        CheckpointError: there are no merges, or the way to split a text is unknown. What tokenizers
            raises of merges that do not fit the tokens is an Exception.
    """
    name = header.metadata.get("tokenizer.ggml.pre")
    splitting = SPLITTINGS.get("default" if name is None else str(name))
    if splitting is None:
        known = ", ".join(SPLITTINGS)
        raise header.metadata.error(
            f"tokenizer.ggml.pre {name!r} is a way to split a text that is not known, only {known} are; "
            + INSTEAD
        )
    # rows without a token are padded by unused ones, which no text may become
    ids = vocabulary.ids(TokenKind.UNUSED)
    merges = [_halves(merge) for merge in read_list(header, "merges", str)]
    made = Tokenizer(BPE(ids, merges, ignore_merges=splitting.whole_words))
    if splitting.composed:
        made.normalizer = normalizers.NFC()
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(one), "isolated") for one in splitting.patterns),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    made.decoder = decoders.ByteLevel()
    return made, splitting.begins


def _halves(merge: str) -> tuple[str, str]:
    """The two that are merged; the first may itself begin with a space."""
    space = merge.find(" ", 1)
    return (merge, "") if space < 0 else (merge[:space], merge[space + 1 :])
