"""JSON and TOML from outside → plain data, and plain data → a schema.

Refused beside what is malformed: a key that comes twice (one value would silently go), numbers that are not
finite, nesting that no such file has (whoever walks it would run out of stack), half a surrogate pair.
"""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError

from hwsearch.files.kinds import FileKind
from hwsearch.files.opening import decoded, read_bytes, read_text
from hwsearch.schema import explain

SchemaT = TypeVar("SchemaT", bound=BaseModel)

#: No file that is read nests deeper.
MOST_DEPTH = 64

_HALF = re.compile(r"\\u[dD][89a-fA-F]")


def parse_json(text: str | bytes, where: object, kind: FileKind, *, strict: bool = True) -> Any:
    """Plain data of JSON text.

    Args:
        text: as it was read.
        where: what errors call it.
        kind: what it shall be.
        strict: refuse control characters inside texts.

    Raises:
        HwsearchError: of the kind; the message says where and why.
    """
    if isinstance(text, bytes):
        text = decoded(text, where, kind)
    try:
        found = json.loads(
            text,
            strict=strict,
            object_pairs_hook=_distinct,
            parse_float=_finite,
            parse_constant=_no_number,
        )
        if text.count("[") + text.count("{") > MOST_DEPTH:
            _check_depth(found)
        if _HALF.search(text):
            json.dumps(found, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError as error:
        raise kind.refuse(where, "a text holds half a surrogate pair") from error
    except (ValueError, RecursionError) as error:
        raise kind.refuse(where, f"not JSON: {_reason(error)}") from error
    return found


def read_json(path: Path | str, kind: FileKind) -> Any:
    """Plain data of a JSON file. Raises as `open_plain` and `parse_json`."""
    return parse_json(read_bytes(path, kind), path, kind)


def read_toml(path: Path | str, kind: FileKind) -> dict[str, Any]:
    """Plain data of a TOML file.

    Raises:
        HwsearchError: of the kind: it cannot be read, is no TOML (the message names the line), or nests
            too deep. Numbers that are not finite are left to the schema, which names their key.
    """
    text = read_text(path, kind)
    try:
        found = tomllib.loads(text)
        _check_depth(found)
    except (ValueError, RecursionError) as error:
        raise kind.refuse(path, f"not TOML: {_reason(error)}") from error
    return found


def checked(schema: type[SchemaT], data: object, where: object, kind: FileKind) -> SchemaT:
    """Plain data as a schema has it. Raises the kind's error, naming the key."""
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise kind.error(f"{where}: {explain(error)}") from error


def read_schema(path: Path | str, kind: FileKind, schema: type[SchemaT]) -> SchemaT:
    """A JSON file as a schema has it. Raises as `read_json` and `checked`."""
    return checked(schema, read_json(path, kind), path, kind)


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"key {twice!r} comes twice; keep one")
    return record


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is no finite number")
    return value


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _check_depth(found: object) -> None:
    """Raise `ValueError` where containers nest too deep; no recursion, since that is what it guards."""
    level = [found]
    for _ in range(MOST_DEPTH):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)  # type: ignore[attr-defined]
            if isinstance(inner, dict | list)
        ]
        if not level:
            return
    raise ValueError(f"it nests more than {MOST_DEPTH} levels deep")


def _reason(error: Exception) -> str:
    return "it nests too deep" if isinstance(error, RecursionError) else str(error)
