"""`hwsearch schema`: what a verb's JSON holds."""

from __future__ import annotations

import click

from hwsearch.cli.help import Verb
from hwsearch.cli.options import json_option
from hwsearch.cli.output import print_json


@click.command(name="schema", cls=Verb)
@click.argument("verb", required=False)
@click.option("--all", "every", is_flag=True, help="Those of all verbs, by name.")
@json_option
def command(verb: str | None, every: bool, as_json: bool) -> None:
    """Print the JSON Schema of what VERB prints with --json.

    Where a command fails, its document is {"error": {"kind", "message", "exit_code"}} instead.
    """
    from hwsearch.cli.documents.catalog import DOCUMENTS, json_schema
    from hwsearch.errors import InputError

    if (verb is None) != every:
        raise InputError(f"give one verb of {', '.join(DOCUMENTS)}, or --all")
    print_json(
        {name: json_schema(name) for name in DOCUMENTS} if verb is None else json_schema(verb)
    )
