"""Reading typed fields out of a model's JSON files, with errors that name file and field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hwsearch.errors import CheckpointError
from hwsearch.files import FileKind, read_json
from hwsearch.files.kinds import MIB
from hwsearch.schema import MOST_INTEGER, MOST_NUMBER, shown_value

#: A JSON file of a model; the tokenizer is the largest.
MODEL_JSON = FileKind("JSON file of a model", 256 * MIB, CheckpointError, "fetch the model again")

#: The largest token id, and the least positive number, that are believed.
MOST_TOKEN, LEAST_NUMBER = (1 << 31) - 1, 1e-30


class Fields:
    """The fields of one JSON file, such as ``config.json``.

    Args:
        record: the parsed file.
        where: what errors call it.
    """

    def __init__(self, record: dict[str, Any], where: str) -> None:
        self.record = record
        self.where = where

    @classmethod
    def read(cls, path: Path) -> Fields:
        """Fields of a JSON file. Raises `CheckpointError` naming the file."""
        record = read_json(path, MODEL_JSON)
        if not isinstance(record, dict):
            raise CheckpointError(f"{path} must hold a JSON object, got {type(record).__name__}")
        return cls(record, str(path))

    @classmethod
    def read_if_there(cls, path: Path) -> Fields:
        """Fields of a JSON file that may be missing: none then. Raises as `read` does."""
        there = path.exists() or path.is_symlink()
        return cls.read(path) if there else cls({}, str(path))

    def get(self, name: str) -> Any:
        """The raw value of a field; None where it is absent or null."""
        return self.record.get(name)

    def integer(self, name: str, default: int | None = None) -> int:
        """A positive whole number; without a default the field is required."""
        value = self._required(name, default)
        good = isinstance(value, int) and not isinstance(value, bool)
        if not (good and 1 <= value <= MOST_INTEGER):
            raise self.error(f"{name} must be a positive whole number, got {shown_value(value)}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number; without a default the field is required."""
        value = self._required(name, default)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if not (good and LEAST_NUMBER <= value <= MOST_NUMBER):
            raise self.error(f"{name} must be a positive number, got {shown_value(value)}")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._required(name, default)
        if not isinstance(value, bool):
            raise self.error(f"{name} must be true or false, got {shown_value(value)}")
        return value

    def token(self, name: str) -> int | None:
        """A token id, the first of a list of them, or None where the field is absent."""
        return next(iter(self.tokens(name)), None)

    def tokens(self, name: str) -> tuple[int, ...]:
        """Token ids, given as one or as a list; none where the field is absent or empty."""
        value = self.get(name)
        if value is None:
            return ()
        ids = value if isinstance(value, list) else [value]
        for token in ids:
            good = isinstance(token, int) and not isinstance(token, bool)
            if not (good and 0 <= token <= MOST_TOKEN):
                raise self.error(
                    f"{name} must be a token id, or a list of them, got {shown_value(value)}"
                )
        return tuple(ids)

    def only(self, **allowed: Any) -> None:
        """Refuse fields that are there with another value than the one that is supported."""
        for name, wanted in allowed.items():
            value = self.get(name)
            if value is not None and value != wanted:
                raise self.error(
                    f"{name} {shown_value(value)} is not supported, only {wanted!r} is"
                )

    def error(self, message: str) -> CheckpointError:
        """An error that names this file."""
        return CheckpointError(f"{self.where}: {message}")

    def _required(self, name: str, default: Any) -> Any:
        value = self.get(name)
        if value is not None:
            return value
        if default is None:
            raise self.error(f"{name} is missing")
        return default
