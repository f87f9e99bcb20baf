"""A tokenizer made of the header of a GGUF file, as llama.cpp reads it (``src/llama-vocab.cpp``)."""

from __future__ import annotations

from collections.abc import Callable

from tokenizers import AddedToken, Tokenizer
from tokenizers.processors import TemplateProcessing

from hwsearch.denoisers.loading.gguf.byte_level import byte_level_tokenizer
from hwsearch.denoisers.loading.gguf.header import GgufHeader
from hwsearch.denoisers.loading.gguf.sentence_piece import sentence_piece_tokenizer
from hwsearch.denoisers.loading.gguf.vocabulary import (
    INSTEAD,
    TokenKind,
    Vocabulary,
    read_vocabulary,
    token_id,
)
from hwsearch.errors import CheckpointError

#: How each ``tokenizer.ggml.model`` is made, and whether it begins texts with a token unless it says.
KINDS: dict[str, Callable[[GgufHeader, Vocabulary], tuple[Tokenizer, bool]]] = {
    "gpt2": byte_level_tokenizer,
    "llama": sentence_piece_tokenizer,
}


def gguf_tokenizer(header: GgufHeader) -> Tokenizer:
    """The tokenizer in a header.

    Tokens of kind *control* are special ones; they and *user-defined* ones are kept whole wherever they
    stand in a text.

    Raises:
        CheckpointError: there is none, or one of a kind that is not made.
    """
    name = header.metadata.get("tokenizer.ggml.model")
    if not isinstance(name, str) or name not in KINDS:
        said = "is missing" if name is None else f"{name!r} is not one of {', '.join(KINDS)}"
        raise header.metadata.error(f"no tokenizer: tokenizer.ggml.model {said}; {INSTEAD}")
    vocabulary = read_vocabulary(header)
    try:
        made, begins = KINDS[name](header, vocabulary)
        for kind in (TokenKind.CONTROL, TokenKind.USER_DEFINED):
            special = kind == TokenKind.CONTROL
            texts = filter(None, vocabulary.of_kind(kind))
            made.add_tokens([AddedToken(t, special=special, normalized=False) for t in texts])
        _frame(made, header, vocabulary, begins)
        made.decode(made.encode("1 + 1 = 2?").ids)
    except CheckpointError:
        raise
    except BaseException as error:  # tokenizers raises plain Exception, and Rust's panic is none
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise header.metadata.error(f"cannot make its tokenizer ({error}); {INSTEAD}") from error
    return made


def _frame(made: Tokenizer, header: GgufHeader, vocabulary: Vocabulary, begins: bool) -> None:
    """Let a tokenizer begin or end each text with a token, where the header says so."""
    fields = header.metadata
    frame = {
        "bos": fields.flag("tokenizer.ggml.add_bos_token", begins),
        "eos": fields.flag("tokenizer.ggml.add_eos_token", False),
    }
    tokens = {}
    for role in (role for role, is_added in frame.items() if is_added):
        token, key = token_id(header, role), f"tokenizer.ggml.{role}_token_id"
        if token is None:
            raise fields.error(f"{key} is missing, but each text is to have it; {INSTEAD}")
        tokens[role] = (vocabulary.text(token, key), token)
    if tokens:
        texts = {role: text for role, (text, _) in tokens.items()}
        whole = [texts.get("bos"), "$A", texts.get("eos")]
        made.post_processor = TemplateProcessing(
            single=[part for part in whole if part is not None],
            special_tokens=list(tokens.values()),
        )
