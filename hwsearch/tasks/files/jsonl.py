"""JSON Lines: one JSON object a line, in UTF-8; how every such file in hwsearch is read."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwsearch.errors import InputError

_GZIP = b"\x1f\x8b"


def read_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    r"""The objects of a JSONL file in file order, each after its place, ``FILE:LINE``.

    A line ends at ``\n`` or ``\r\n`` alone: other characters that end lines elsewhere (U+2028,
    U+0085, ``\x0b``, ``\x0c``, ``\x1c``) are data. A byte order mark is passed over, so are lines of
    nothing but white space. A file that gzip packed is unpacked.

    Raises:
        InputError: the file cannot be read, is not UTF-8, or a line is not an object whose keys differ
            and whose texts are Unicode; the message names the line.
    """
    content = _unpacked(path)
    for number, raw in enumerate(_decoded(content, path).split("\n"), 1):
        line = raw.lstrip("\ufeff")  # of the file, or of one that was put behind another
        if line.strip():
            yield f"{path}:{number}", _object(line, f"{path}:{number}")


def _unpacked(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if content.startswith(_GZIP) else content
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"cannot read {path}: {reason}") from error


def _decoded(content: bytes, path: Path) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}:{line}: JSONL is UTF-8, and byte 0x{content[error.start]:02x} is not; "
            "save the file as UTF-8"
        ) from error


def _object(line: str, where: str) -> dict[str, Any]:
    try:
        # not strict: a control character inside a text is data
        record = json.loads(line, strict=False, object_pairs_hook=_distinct)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: a line of JSONL is one JSON object ({error})") from error
    if not isinstance(record, dict):
        raise InputError(f"{where}: a line of JSONL is one JSON object, not {_short(record)}")
    return record


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object's pairs; a key that comes twice would silently lose a value."""
    record: dict[str, Any] = {}
    for key, value in pairs:
        if key in record:
            raise ValueError(f"key {key!r} comes twice; keep one")
        record[key] = value
        if isinstance(value, str) and not _is_unicode(value):
            raise ValueError(f"the text of {key!r} holds half a surrogate pair")
    return record


def _is_unicode(text: str) -> bool:
    """Half a surrogate pair can be escaped in JSON, but is no character that a tokenizer takes."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else f"{text[:37]}..."
