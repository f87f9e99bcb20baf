"""The jinja environment that chat templates are written for: what transformers gives them.

Templates come with a model and are not trusted, so they run in jinja's sandbox; its ``dict`` and
``namespace`` are replaced by ones that hand out no attribute of Python's own.
"""

from __future__ import annotations

import json
from datetime import datetime
from functools import lru_cache
from typing import Any, NoReturn

from jinja2 import Environment, Template, TemplateError, nodes
from jinja2.exceptions import SecurityError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.utils import Namespace, generate_lorem_ipsum

from hwsearch.denoisers.chat.bounds import BoundedEnvironment, check, extent_of


class GenerationTag(Extension):
    """``{% generation %}`` … ``{% endgeneration %}``: marks what the model wrote; rendered as it is.

    The body is a block of its own, as in transformers: what it sets is unknown after it.
    """

    tags = {"generation"}  # noqa: RUF012 - as jinja declares it

    def parse(self, parser: Parser) -> nodes.Node:
        """A call of `_written` whose body is the block's."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        call = self.call_method("_written")
        return nodes.CallBlock(call, [], [], body).set_lineno(line)

    def _written(self, caller: Macro) -> str:
        text: str = caller()
        return text


class TemplateDict:
    """``dict`` of a template: makes dictionaries, and is not Python's class."""

    def __call__(self, *args: Any, **fields: Any) -> dict[Any, Any]:
        """A dictionary, as ``dict`` makes it."""
        return dict(*args, **fields)

    def fromkeys(self, *args: Any) -> dict[Any, Any]:
        """A dictionary of given keys, as ``dict.fromkeys`` makes it."""
        return dict.fromkeys(*args)


class TemplateNamespace(Namespace):
    """``namespace`` of a template; attributes that begin with an underscore are refused."""

    def __init__(*args: Any, **fields: Any) -> None:
        # a template may call a field "self"
        self, *given = args
        start = dict(*given, **fields)
        for name in start:
            _check_name(name)
        Namespace.__init__(self, start)

    def __setitem__(self, name: str, value: Any) -> None:
        _check_name(name)
        super().__setitem__(name, value)


def _check_name(name: Any) -> None:
    if isinstance(name, str) and name.startswith("_"):
        raise SecurityError(f"a namespace holds no attribute that begins with '_', got {name!r}")


@lru_cache(maxsize=16)
def compiled(source: str) -> Template:
    """A template of the environment. Raises what jinja raises for a malformed one."""
    return _environment().from_string(source)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = BoundedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationTag, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["lipsum"] = _lorem_ipsum
    environment.globals["raise_exception"] = _refuse
    environment.globals["strftime_now"] = _now
    environment.globals["dict"] = TemplateDict()
    environment.globals["namespace"] = TemplateNamespace
    return environment


def _to_json(
    x: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    check(extent_of(x) * max(1, indent or 1))
    # jinja's own escapes what HTML would, and a model is not a browser
    return json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _lorem_ipsum(n: int = 5, html: bool = True, min: int = 20, max: int = 100) -> str:
    check(2000 * n * max)
    return str(generate_lorem_ipsum(n, html, min, max))


def _refuse(message: str) -> NoReturn:
    raise TemplateError(message)


def _now(format: str) -> str:
    return datetime.now().strftime(format[:100])
