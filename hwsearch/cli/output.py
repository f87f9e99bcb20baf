"""What a command says beside its result: how much of it, and in which form."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import Any

import click


@dataclass
class Output:
    """How this process talks.

    Attributes:
        quiet: leave out progress and notes; errors are told.
        as_json: standard output holds one JSON document, whatever happens.
        printed: that document was printed.
    """

    quiet: bool = False
    as_json: bool = False
    printed: bool = False

    def begin(self, quiet: bool, as_json: bool) -> None:
        """Set how a command talks, before it runs."""
        self.quiet, self.as_json, self.printed = quiet, as_json, False
        # both ways: a process may run one command after the other
        logging.getLogger("hwsearch").setLevel(logging.ERROR if quiet else logging.NOTSET)

    def end(self) -> None:
        """Talk as before a command ran: whoever called it from Python has warnings again."""
        self.begin(quiet=False, as_json=False)


#: Of the command that runs.
output = Output()


def note(text: str) -> None:
    """Say something beside the result, on standard error, unless that shall be quiet."""
    if not output.quiet:
        click.echo(text, err=True)


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    click.echo(json.dumps(document, indent=2))
    output.printed = True


def print_error(line: str, code: int, kind: str) -> None:
    """An error in one line on standard error; with ``--json`` as the document, too.

    Args:
        line: what went wrong and what to do.
        code: the exit code.
        kind: name of the exception.
    """
    click.echo(line, err=True)
    if output.as_json and not output.printed:
        told = line.removeprefix("error: ")
        print_json({"error": {"kind": kind, "message": told, "exit_code": code}})
