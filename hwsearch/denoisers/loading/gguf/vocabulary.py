"""The tokens in the header of a GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from tokenizers import Tokenizer

from hwsearch.denoisers.loading.gguf.header import GgufHeader
from hwsearch.errors import CheckpointError

_PREFIX = "tokenizer.ggml."

#: Said where a tokenizer cannot be made of the header.
INSTEAD = "put the tokenizer.json of the model beside the file, which is read instead"

#: Names of special tokens in a chat template, by their role in the header.
_ROLES = {
    "bos": "bos_token",
    "eos": "eos_token",
    "unknown": "unk_token",
    "padding": "pad_token",
    "mask": "mask_token",
}


class TokenKind(IntEnum):
    """What a token is, by ggml's numbers."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of a model.

    Attributes:
        tokens: texts, by id.
        kinds: a number of `TokenKind` a token.
        where: the file, for error messages.
    """

    tokens: list[str]
    kinds: list[int]
    where: str

    def ids(self, *left_out: TokenKind) -> dict[str, int]:
        """Ids by text, without some kinds of tokens."""
        pairs = zip(self.tokens, self.kinds, strict=True)
        return {token: i for i, (token, kind) in enumerate(pairs) if kind not in left_out}

    def of_kind(self, kind: TokenKind) -> list[str]:
        """Texts of the tokens of a kind."""
        return [token for token, its in zip(self.tokens, self.kinds, strict=True) if its == kind]

    def text(self, token: int, name: str) -> str:
        """The text of a token. Raises `CheckpointError` where there is none."""
        if not 0 <= token < len(self.tokens):
            raise CheckpointError(
                f"{self.where}: {name} {token} is outside the vocabulary 0..{len(self.tokens) - 1}"
            )
        return self.tokens[token]


def read_vocabulary(header: GgufHeader) -> Vocabulary:
    """The tokens of a header; all are normal ones where it does not say.

    Raises:
        CheckpointError: there are none, or they are malformed.
    """
    tokens = read_list(header, "tokens", str)
    kinds: list[int] = [TokenKind.NORMAL] * len(tokens)
    if header.metadata.get(f"{_PREFIX}token_type") is not None:
        kinds = read_list(header, "token_type", int)
    if len(kinds) != len(tokens):
        raise header.metadata.error(
            f"{_PREFIX}token_type has {len(kinds)} entries for {len(tokens)} tokens; {INSTEAD}"
        )
    return Vocabulary(tokens, kinds, header.metadata.where)


def read_list(header: GgufHeader, name: str, kind: type) -> list[Any]:
    """A list of the tokenizer's. Raises `CheckpointError` where it is missing or of another kind."""
    found = header.metadata.get(_PREFIX + name)
    if not isinstance(found, list) or not found or not isinstance(found[0], kind):
        said = "is missing" if found is None else f"must be a list of {kind.__name__}"
        raise header.metadata.error(f"{_PREFIX}{name} {said}; {INSTEAD}")
    return found


def token_id(header: GgufHeader, role: str) -> int | None:
    """The token of a role, such as ``bos``; None where the header does not say."""
    return header.metadata.token(f"{_PREFIX}{role}_token_id")


def special_texts(header: GgufHeader, tokenizer: Tokenizer) -> dict[str, str]:
    """Texts of special tokens by the name that a chat template uses; those that the header tells."""
    ids = {name: token_id(header, role) for role, name in _ROLES.items()}
    texts = {name: tokenizer.id_to_token(i) for name, i in ids.items() if i is not None}
    return {name: text for name, text in texts.items() if text is not None}
