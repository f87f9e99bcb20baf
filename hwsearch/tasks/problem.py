"""A problem: the pair of texts that GSM8K's JSONL lines hold."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from hwsearch.errors import InputError


@dataclass(frozen=True)
class Problem:
    """One word problem.

    Attributes:
        question: the text a model is given.
        answer: the worked solution; its last line is ``#### `` and the number.
    """

    question: str
    answer: str


def read_problems(path: Path) -> list[Problem]:
    """Problems of a GSM8K-style JSONL file, in file order.

    Raises:
        InputError: the file is missing, or a line is not an object with the texts
            ``question`` and ``answer``; the message names the line.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"cannot read problems from {path}: {error.strerror}") from error
    return [_parse(line, f"{path}:{number}") for number, line in enumerate(lines, 1) if line]


def _parse(line: str, where: str) -> Problem:
    try:
        record = json.loads(line)
        return Problem(question=_text(record, "question"), answer=_text(record, "answer"))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f'{where}: a problem is a JSON object with texts "question" and "answer" ({error})'
        ) from error


def _text(record: dict[str, object], key: str) -> str:
    value = record[key]
    if not isinstance(value, str):
        raise TypeError(f"{key} is {value!r}")
    return value
