"""Added and special tokens of a model folder, from whichever of its files names them.

Four files may: ``tokenizer.json``, ``tokenizer_config.json``, ``special_tokens_map.json`` and
``added_tokens.json``. They are read in the order that transformers gives them: the two last count
only where ``tokenizer_config.json`` holds no ``added_tokens_decoder``, and the map then comes first.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

from hwsearch.denoisers.loading.json_fields import MOST_TOKEN, Fields
from hwsearch.errors import CheckpointError
from hwsearch.files import FileKind, check_plain, refused_by
from hwsearch.files.kinds import MIB
from hwsearch.schema import shown_value

TOKENIZER = "tokenizer.json"
SETTINGS = "tokenizer_config.json"
MAP = "special_tokens_map.json"
ADDED = "added_tokens.json"

#: Special tokens without a name, under the present and the earlier name of the field.
EXTRA, EARLIER_EXTRA = "extra_special_tokens", "additional_special_tokens"

_FLAGS = ("single_word", "lstrip", "rstrip", "normalized", "special")

#: Names that every tokenizer may give a token to; others end in ``_token``.
NAMES = (
    "bos_token",
    "eos_token",
    "unk_token",
    "sep_token",
    "pad_token",
    "cls_token",
    "mask_token",
)


#: The file of a tokenizer, of a model or of a bundle.
TOKENIZER_JSON = FileKind(
    "tokenizer", 256 * MIB, CheckpointError, "fetch or export the model again"
)

#: A text that any tokenizer can read and write again, and how many letters of it at a time.
_PROBE = "1 + 1 = 2?\nTom has aaaaaaaaaaaaaaaaaaaaa, and 1111111111 more.  Why?\n"
_STEPS = (8, 16, 32, len(_PROBE))

#: Seconds of the processor that these few letters may take; one that is meant well takes no hundredth of it.
SLOWEST_S = 0.25


@dataclass(frozen=True)
class SpecialTokens:
    """The tokens that a folder's files name beside ``tokenizer.json``.

    Attributes:
        named: by name, such as ``eos_token``.
        extra: special tokens without a name.
        added: by the id they were saved with.
        legacy: whether ``added_tokens_decoder`` is missing, so that tokens of ``tokenizer.json``
            count before those of ``added_tokens.json``.
    """

    named: Mapping[str, AddedToken]
    extra: tuple[AddedToken, ...]
    added: Mapping[int, AddedToken]
    legacy: bool

    def texts(self) -> dict[str, str]:
        """Text of each named token, by its name."""
        return {name: token.content for name, token in self.named.items()}

    def complete(self, tokenizer: Tokenizer) -> None:
        """Add what a tokenizer lacks of these tokens; new ones get the ids that follow its own."""
        held = tokenizer.get_added_tokens_decoder()
        stored = {**self.added, **(held if self.legacy else {})}
        tokens = [token for _, token in sorted(stored.items())]
        known = {token.content for token in (*held.values(), *tokens)}
        # of two that say the same text with other flags, the last one counts
        beside = {repr(token): token for token in (*self.named.values(), *self.extra)}
        tokens += [token for token in beside.values() if token.content not in known]
        names = {token.content for token in self.named.values()}
        tokenizer.add_tokens([_special(t) if t.content in names else t for t in tokens])


def open_tokenizer(path: Path, special: SpecialTokens | None = None) -> Tokenizer:
    """The tokenizer of a file, which has read and written a text.

    Args:
        path: a ``tokenizer.json``.
        special: tokens to add that only files beside it name.

    Raises:
        CheckpointError: it is none, what it says contradicts itself, or it is so slow that its patterns
            must be meant to be.
    """
    check_plain(path, TOKENIZER_JSON)
    with refused_by("tokenizers", path, TOKENIZER_JSON):
        tokenizer = Tokenizer.from_file(str(path))
        if special is not None:
            special.complete(tokenizer)
        _try(tokenizer, path)
    return tokenizer


def _try(tokenizer: Tokenizer, path: Path) -> None:
    """Read and write a text, a few letters at first.

    A pattern may try so many ways to match that every letter takes long. Its library gives up on a match
    after some tenths of a second, and nobody can end it before, so a long text would take hours.

    Raises:
        CheckpointError: it takes too long.
    """
    began = time.thread_time()
    for count in _STEPS:
        tokenizer.decode(tokenizer.encode(_PROBE[:count]).ids)
        if time.thread_time() - began > SLOWEST_S:
            raise TOKENIZER_JSON.refuse(
                path, f"its patterns take longer than {SLOWEST_S:g} s to split {count} letters"
            )


def read_special_tokens(folder: Path) -> SpecialTokens:
    """The tokens that the files of a model folder name; none where they name none.

    Raises:
        CheckpointError: a file is malformed; the message names it and the field.
    """
    settings = Fields.read_if_there(folder / SETTINGS)
    values = dict(settings.record)
    if not values.get(EXTRA) and EARLIER_EXTRA in values:
        values[EXTRA] = values.pop(EARLIER_EXTRA)
    # an object names its tokens, and then there is no list
    own = values.pop(EXTRA) if isinstance(values.get(EXTRA), dict) else {}
    legacy = "added_tokens_decoder" not in values
    if legacy:
        values |= _mapped(Fields.read_if_there(folder / MAP), values)
    added = _legacy(folder / ADDED, _plain(values, settings)) if legacy else _decoder(settings)
    named = _named(values | own, settings)
    flags = {token.content: token for token in added.values()}
    named |= {name: flags.get(named[name].content, named[name]) for name in NAMES if name in named}
    if "pad_token" not in values and (padding := _padding(folder / TOKENIZER)):
        named["pad_token"] = AddedToken(padding, special=True)
    order = (*NAMES, *(name for name in named if name not in NAMES))
    named = {name: named[name] for name in order if name in named}
    # the earlier name counts where the present one is missing
    extra = _list(values.get(EXTRA, values.get(EARLIER_EXTRA)), settings)
    return SpecialTokens(named, tuple(_token(t, EXTRA, settings) for t in extra), added, legacy)


def _plain(values: Mapping[str, Any], where: Fields) -> set[str]:
    """Texts of special tokens but those that are objects in the settings, as transformers counts."""
    tokens = (*map(values.get, NAMES), *_list(values.get(EXTRA), where))
    return {_token(t, EXTRA, where).content for t in tokens if isinstance(t, str | AddedToken)}


def _mapped(record: Fields, values: Mapping[str, Any]) -> dict[str, Any]:
    """What a ``special_tokens_map.json`` changes about the settings."""
    changed: dict[str, Any] = {}
    for key, value in record.record.items():
        own = key not in NAMES and key.endswith("_token") and isinstance(values.get(key), str)
        if own:
            continue
        changed[key] = value
        if isinstance(value, dict) and key != EXTRA:
            changed[key] = _special(_token(value, key, record))
        elif isinstance(value, list) and key == EXTRA:
            before = _list(values.get(key), record)
            changed[key] = [*before, *(token for token in value if token not in before)]
    return changed


def _named(values: dict[str, Any], where: Fields) -> dict[str, AddedToken]:
    """Tokens by name."""
    found = {name: values[name] for name in NAMES if values.get(name) is not None}
    found |= {
        key: value
        for key, value in values.items()
        if key.endswith("_token") and key not in NAMES and _names_token(value)
    }
    return {name: _token(value, name, where) for name, value in found.items()}


def _decoder(settings: Fields) -> dict[int, AddedToken]:
    record = settings.get("added_tokens_decoder")
    if not isinstance(record, dict):
        raise settings.error(f"added_tokens_decoder must be an object, got {record!r}")
    tokens = {}
    for key, value in record.items():
        if not (key.isdecimal() and len(key) < 10) or not isinstance(value, dict):
            raise settings.error(
                f"added_tokens_decoder must hold a token object by its id, got {key!r}: {value!r}"
            )
        tokens[int(key)] = _token(value, f"added_tokens_decoder.{key}", settings)
    return tokens


def _legacy(path: Path, special: set[str]) -> dict[int, AddedToken]:
    record = Fields.read_if_there(path)
    tokens = {}
    for text, index in record.record.items():
        good = isinstance(index, int) and not isinstance(index, bool)
        if not (good and 0 <= index <= MOST_TOKEN):
            raise record.error(f"{text!r} must have a token id, got {shown_value(index)}")
        tokens[index] = AddedToken(text, normalized=text not in special, special=text in special)
    return tokens


def _token(value: Any, key: str, where: Fields) -> AddedToken:
    """A token from its text, or from an object that holds the text as ``content``."""
    if isinstance(value, AddedToken):
        return value
    if isinstance(value, str):
        return AddedToken(value, special=True)
    if not isinstance(value, dict) or not isinstance(value.get("content"), str):
        raise where.error(f"{key} must be text, or an object with its content, got {value!r}")
    flags = {name: value[name] for name in _FLAGS if name in value}
    try:
        return AddedToken(value["content"], **flags)
    except TypeError as error:
        raise where.error(f"{key} must be a token's fields, got {value!r} ({error})") from error


def _list(value: Any, where: Fields) -> list[Any]:
    if value is None or isinstance(value, list):
        return value or []
    raise where.error(f"{EXTRA} must be a list or an object, got {value!r}")


def _names_token(value: Any) -> bool:
    """Whether a value is a token: other settings have names that end in ``_token`` too."""
    return isinstance(value, str | AddedToken) or (isinstance(value, dict) and "content" in value)


def _special(token: AddedToken) -> AddedToken:
    """The token, marked as special."""
    if token.special:
        return token
    return AddedToken(
        token.content,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=token.normalized,
        special=True,
    )


def _padding(path: Path) -> str | None:
    """The token that a ``tokenizer.json`` was last told to pad with."""
    record = Fields.read_if_there(path).get("padding")
    token = record.get("pad_token") if isinstance(record, dict) else None
    return token if isinstance(token, str) else None
