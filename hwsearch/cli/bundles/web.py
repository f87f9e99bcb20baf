"""`hwsearch web`: the scripts that run bundles in Node and in a browser. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.cli.help import Verb
from hwsearch.cli.options import json_option, overwrite_option
from hwsearch.cli.output import print_json


@click.command(name="web", cls=Verb)
@click.argument("folder", type=click.Path(path_type=Path))
@overwrite_option
@json_option
def command(folder: Path, overwrite: bool, as_json: bool) -> None:
    """Write FOLDER with the scripts that run bundles for onnxruntime-web, in Node and in a browser."""
    from hwsearch.runtime.web import write_runner

    written = write_runner(folder, overwrite=overwrite)
    if as_json:
        print_json({"folder": str(written)})
    else:
        click.echo(f'{written}: in it, npm install, then node generate.mjs BUNDLE "question"')
