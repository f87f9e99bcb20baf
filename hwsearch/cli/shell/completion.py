"""`hwsearch completion`: the script that completes names and flags in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from hwsearch.cli.help import Verb
from hwsearch.cli.options import json_option
from hwsearch.cli.output import print_json


@click.command(name="completion", cls=Verb)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@json_option
def command(shell: str, as_json: bool) -> None:
    """Print the completion script for SHELL.

    It completes verbs, flags, and names of models, devices, tasks and studies.
    """
    from hwsearch.cli.main import hwsearch

    kind = get_completion_class(shell)
    assert kind is not None, "click knows these shells"
    script = kind(hwsearch, {}, "hwsearch", "_HWSEARCH_COMPLETE").source()
    print_json({"shell": shell, "script": script}) if as_json else click.echo(script)
