"""Bounds of a template's code: steps, time, and sizes of whatever it makes.

Jinja's sandbox keeps a template from Python's objects, and not from ``{% for %}`` in ``{% for %}`` or from
``"a" * 10 ** 9``. So lines that run are counted, and before anything is computed the sizes of what it is
computed from are held against a bound: their product bounds what comes out.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import wraps
from math import prod
from types import FrameType
from typing import Any, Final

from jinja2 import nodes
from jinja2.compiler import CodeGenerator
from jinja2.exceptions import SecurityError
from jinja2.sandbox import ImmutableSandboxedEnvironment

#: Lines of a template that run, and seconds that they may take.
MOST_STEPS: Final = 500_000
MOST_SECONDS: Final = 10.0

#: Characters of what a template writes, and the product of the sizes that anything is computed from.
MOST_TEXT: Final = 1 << 20
MOST_SIZE: Final = 1 << 24

#: Items all the way down of one value.
_MOST_ITEMS = 1 << 18

#: Digits of a number that is multiplied or raised.
_MOST_DIGITS = 300

#: Digits of a width in a text that formats.
_MOST_WIDTH = 4

#: The file that jinja's compiled code says it is of.
_TEMPLATE = "<template>"


class _BoundedCode(CodeGenerator):
    """Compiles ``a ~ b`` as a call that looks at the sizes of its parts."""

    def visit_Concat(self, node: nodes.Concat, frame: Any) -> None:  # noqa: N802 - jinja's name
        """Write the call."""
        self.write("environment.concatenated((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Jinja's sandbox, whose operators, calls and filters refuse what would grow without bounds."""

    code_generator_class = _BoundedCode
    intercepted_binops = frozenset({"+", "*", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.filters = {name: _bounded(made) for name, made in self.filters.items()}
        self.finalize = _finalized

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        """The value of an operator. Raises `SecurityError` where it would be too large."""
        if operator == "+":
            check(extent_of(left) + extent_of(right))
        elif operator == "%" and isinstance(left, str):
            _check_format(left)
            check(extent_of(left) * extent_of(right))
        elif isinstance(left, int | float) and isinstance(right, int | float):
            _check_digits(operator, left, right)
        else:
            check(extent_of(left) * extent_of(right))
        return super().call_binop(context, operator, left, right)

    def concatenated(self, parts: Sequence[Any]) -> str:
        """The texts of some values, one behind the other. Raises `SecurityError` if that is too long."""
        check(sum(map(extent_of, parts)))
        return "".join(map(str, parts))

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        """As the sandbox's, for texts that name no wide fields. Raises `SecurityError`."""
        made = super().wrap_str_format(value)
        if made is not None:
            _check_format(value.__self__)
        return made

    def call(__self, __context: Any, __obj: Any, *args: Any, **fields: Any) -> Any:  # noqa: N805
        """What a template calls; jinja's own names keep fields free. Raises `SecurityError`."""
        owner = getattr(__obj, "__self__", None)
        values = [value for value in (owner, *args, *fields.values()) if _has_size(value)]
        if __obj is not __self.globals.get("range"):  # which has a bound of its own
            check(prod(map(extent_of, values)))
        return super().call(__context, __obj, *args, **fields)


def check(size: int) -> None:
    """Raise `SecurityError` for what is larger than `MOST_SIZE`."""
    if size > MOST_SIZE:
        raise SecurityError(f"it would make more than {MOST_SIZE:,} characters or items")


def extent_of(value: Any) -> int:
    """Characters, items all the way down, or a number itself; at least 1, and little above `MOST_SIZE`.

    >>> extent_of("abc"), extent_of([1, "ab"]), extent_of(7), extent_of(None)
    (3, 5, 7, 1)
    """
    total, seen, left = 0, 0, [value]
    while left and total <= MOST_SIZE:
        one, seen = left.pop(), seen + 1
        if seen > _MOST_ITEMS:  # items that lie in many lists are counted in each
            return MOST_SIZE + 1
        if isinstance(one, str):
            total += len(one)
        elif isinstance(one, int | float):
            total += 0 if math.isnan(one) else int(min(abs(one), MOST_SIZE + 1))
        elif isinstance(one, dict):
            total += len(one)
            left += [*one.keys(), *one.values()]
        elif isinstance(one, list | tuple | set | frozenset):
            total += len(one)
            left += one
        else:
            total += 1
    return max(total, 1)


@contextmanager
def counted_steps() -> Iterator[None]:
    """Count the lines that a template runs in this thread; it is ended by `SecurityError`."""
    left, end = MOST_STEPS, time.monotonic() + MOST_SECONDS

    def line(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0 or (left % 1024 == 0 and time.monotonic() > end):
            raise SecurityError(f"it takes more than {MOST_STEPS:,} steps, or {MOST_SECONDS:g} s")
        return line

    def called(frame: FrameType, event: str, argument: Any) -> Any:
        return line if frame.f_code.co_filename == _TEMPLATE else None

    before = sys.gettrace()
    sys.settrace(called)
    try:
        yield
    finally:
        sys.settrace(before)


def bounded_text(parts: Iterator[str]) -> str:
    """The text of what a template writes. Raises `SecurityError` where there is too much of it."""
    found, total = [], 0
    for part in parts:
        total += len(part)
        if total > MOST_TEXT:
            raise SecurityError(f"it writes more than {MOST_TEXT:,} characters")
        found.append(part)
    return "".join(found)


def _bounded(made: Callable[..., Any]) -> Callable[..., Any]:
    """A filter that looks at the sizes of what it is given."""

    @wraps(made)  # jinja's marks of what a filter wants first are attributes
    def checked(*args: Any, **fields: Any) -> Any:
        values = [value for value in (*args, *fields.values()) if _has_size(value)]
        for value in values:
            if isinstance(value, str) and made.__name__ == "do_format":
                _check_format(value)
        check(prod(map(extent_of, values)))
        return made(*args, **fields)

    return checked


def _has_size(value: Any) -> bool:
    return isinstance(value, str | int | float | dict | list | tuple | set | frozenset)


def _finalized(value: Any) -> Any:
    if not isinstance(value, str):
        check(extent_of(value))
    return value


def _check_format(text: str) -> None:
    digits = 0
    for letter in text:
        digits = digits + 1 if letter.isdigit() else 0
        if digits > _MOST_WIDTH or letter == "*":
            raise SecurityError("a text that formats names a width beyond what is read")


def _check_digits(operator: str, left: float, right: float) -> None:
    bits = [max(1, int(one).bit_length()) if isinstance(one, int) else 64 for one in (left, right)]
    if operator == "**":
        bits = [bits[0] * int(min(abs(right), MOST_SIZE))]
    if sum(bits) > 4 * _MOST_DIGITS:
        raise SecurityError(f"a number would have more than {_MOST_DIGITS} digits")
