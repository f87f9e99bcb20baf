"""Strict frozen models, and how their errors read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from pydantic import (
    BaseModel,
    ConfigDict,
    GetCoreSchemaHandler,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
)
from pydantic_core import core_schema

from hwsearch.errors import InputError, UnknownNameError

#: Most layers, widest matrices, and longest texts in tokens that any model or plan is believed to have.
MOST_LAYERS, MOST_WIDTH, MOST_LENGTH = 1024, 1 << 20, 1 << 17

#: Longest value that an error quotes.
MOST_QUOTED = 200

#: The least milliseconds or joules that anything is believed to take.
LEAST = 1e-9

#: Bounds of numbers whose field names none: what JavaScript has exactly, and what no product overflows.
MOST_INTEGER, MOST_NUMBER = 2**53, 1e30


def _make_strict(schema: Any) -> None:
    """Have the numbers and flags of a schema taken as such alone, and bound numbers that are not."""
    if isinstance(schema, list | tuple):
        for inner in schema:
            _make_strict(inner)
    if not isinstance(schema, dict):
        return
    kind = schema.get("type")
    if kind in ("int", "float", "bool"):
        schema["strict"] = True
    if kind in ("int", "float"):
        most = MOST_INTEGER if kind == "int" else MOST_NUMBER
        if not schema.keys() & {"le", "lt"}:
            schema["le"] = most
        if not schema.keys() & {"ge", "gt"}:
            schema["ge"] = -most
        return
    for name, inner in schema.items():
        if name != "keys_schema":  # keys of JSON are always text
            _make_strict(inner)


class Frozen(BaseModel):
    """Immutable, hashable data that refuses keys it does not know.

    Numbers, and what is true or false, are taken as such alone: neither text nor each other. They are finite
    and within `MOST_INTEGER` or `MOST_NUMBER`, unless a field names its bounds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        schema = handler(source)
        _make_strict(schema)
        return schema


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
    return f"{key}: {message}, got {shown_value(first['input'])}{suffix}"


def shown_value(value: object) -> str:
    """A value as Python writes it, cut to a length that can be read."""
    try:
        said = repr(value)
    except (ValueError, RecursionError):  # a number of more digits than Python writes out
        return f"a {type(value).__name__}"
    return said if len(said) <= MOST_QUOTED else f"{said[:MOST_QUOTED]}..."
