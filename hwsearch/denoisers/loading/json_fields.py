"""Reading typed fields out of a model's JSON files, with errors that name file and field."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hwsearch.errors import CheckpointError


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
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"cannot read {path}: {error.strerror}") from error
        except ValueError as error:
            raise CheckpointError(f"{path} is not JSON: {error}") from error
        if not isinstance(record, dict):
            raise CheckpointError(f"{path} must hold a JSON object, got {type(record).__name__}")
        return cls(record, str(path))

    @classmethod
    def read_if_there(cls, path: Path) -> Fields:
        """Fields of a JSON file that may be missing: none then. Raises as `read` does."""
        return cls.read(path) if path.is_file() else cls({}, str(path))

    def get(self, name: str) -> Any:
        """The raw value of a field; None where it is absent or null."""
        return self.record.get(name)

    def integer(self, name: str, default: int | None = None) -> int:
        """A positive whole number; without a default the field is required."""
        value = self._required(name, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise self.error(f"{name} must be a positive whole number, got {value!r}")
        return value

    def number(self, name: str, default: float | None = None) -> float:
        """A positive number; without a default the field is required."""
        value = self._required(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise self.error(f"{name} must be a positive number, got {value!r}")
        return float(value)

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self._required(name, default)
        if not isinstance(value, bool):
            raise self.error(f"{name} must be true or false, got {value!r}")
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
            if isinstance(token, bool) or not isinstance(token, int) or token < 0:
                raise self.error(f"{name} must be a token id, or a list of them, got {value!r}")
        return tuple(ids)

    def only(self, **allowed: Any) -> None:
        """Refuse fields that are there with another value than the one that is supported."""
        for name, wanted in allowed.items():
            value = self.get(name)
            if value is not None and value != wanted:
                raise self.error(f"{name} {value!r} is not supported, only {wanted!r} is")

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
