"""JSON Lines: one JSON object a line, in UTF-8; how every such file in hwsearch is read."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hwsearch.errors import InputError
from hwsearch.files import FileKind, parse_json, read_bytes
from hwsearch.files.kinds import MIB
from hwsearch.files.opening import read_limited

#: A file of them, and a line.
JSONL_FILE = FileKind("JSONL file", 512 * MIB, fix="check the path, or give a part of it")
JSONL_LINE = FileKind("line", 512 * MIB, fix="a line of JSONL is one JSON object")

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
    content = read_bytes(path, JSONL_FILE)
    if not content.startswith(_GZIP):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as packed:
            content = read_limited(packed, JSONL_FILE.most_bytes)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if len(content) > JSONL_FILE.most_bytes:
        raise JSONL_FILE.refuse(path, f"unpacked it is larger than {JSONL_FILE.most_bytes:,} bytes")
    return content


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
    # not strict: a control character inside a text is data
    record = parse_json(line, where, JSONL_LINE, strict=False)
    if not isinstance(record, dict):
        raise InputError(f"{where}: a line of JSONL is one JSON object, not {_short(record)}")
    return record


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 40 else f"{text[:37]}..."
