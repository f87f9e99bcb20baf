"""Strict frozen models, and how their errors read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)

from hwsearch.errors import InputError, UnknownNameError


class Frozen(BaseModel):
    """Immutable, hashable data that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Keywords(Frozen):
    """Data that is given by keywords; what is wrong with them is said in one line.

    Raises:
        UnknownNameError: a keyword, or the name of one of several choices, is none that is known.
        InputError: a value is out of range, or values contradict each other.
    """

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            first, known = error.errors()[0], type(self).model_fields
            if len(first["loc"]) == 1:
                name = str(first["loc"][0])
                if first["type"] == "extra_forbidden":
                    raise UnknownNameError("setting", name, known) from error
                if first["type"] == "enum":
                    choices = [choice.value for choice in known[name].annotation]  # type: ignore[union-attr]
                    raise UnknownNameError(name, str(first["input"]), choices) from error
            raise InputError(explain(error)) from error


class OmitsDefaults(Frozen):
    """Written without those later additions to the schema that hold their defaults."""

    _omitted_defaults: ClassVar[frozenset[str]] = frozenset()

    @model_serializer(mode="wrap")
    def _omit(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return self._without_defaults(handler(self))

    def _without_defaults(self, written: Mapping[str, Any]) -> dict[str, Any]:
        fields = type(self).model_fields
        omitted = {
            name for name in self._omitted_defaults if getattr(self, name) == fields[name].default
        }
        return {name: value for name, value in written.items() if name not in omitted}


def explain(error: ValidationError) -> str:
    """The first problem of a validation error: key, rule and value, in one line.

    A rule about several keys names them itself, and the value would be the whole document.
    """
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"]) or "(whole)"
    # one key may set several fields, and is wrong once
    more = len({one["loc"] for one in error.errors()}) - 1
    suffix = f" (and {more} more)" if more else ""
    if first["type"] == "extra_forbidden":
        return f"{key}: no such key{suffix}"
    if first["type"] == "missing":
        return f"{key}: missing{suffix}"
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return f"{message}{suffix}"
    return f"{key}: {message}, got {first['input']!r}{suffix}"
