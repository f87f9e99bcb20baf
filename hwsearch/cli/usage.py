"""A command that is spelled wrongly, in one line that says what was meant."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

import click


def explain_usage(error: click.ClickException) -> str:
    """The line for what click refuses."""
    said = error.format_message().rstrip(".")
    guess = _guess(error)
    context = error.ctx if isinstance(error, click.UsageError) else None
    command = "hwsearch" if context is None else context.command_path
    return f"{said}{guess}; see {command} --help"


def unknown_verb(name: str, verbs: Iterable[str], context: click.Context) -> click.UsageError:
    """The error for a verb that there is none of."""
    return click.UsageError(f"No such command {name!r}{did_you_mean(name, verbs)}", ctx=context)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """What was probably meant, to be put behind a message; empty where nothing is near.

    >>> did_you_mean("serach", ["search", "sinks"])
    "; did you mean 'search'?"
    """
    close = get_close_matches(name, list(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _guess(error: click.ClickException) -> str:
    """The nearest of a parameter's choices, where one of those was misspelled."""
    kind = getattr(getattr(error, "param", None), "type", None)
    if not isinstance(kind, click.Choice) or not isinstance(error, click.BadParameter):
        return ""
    quoted = error.message.partition("'")[2].partition("'")[0]
    return did_you_mean(quoted, map(str, kind.choices))
