"""`hwsearch generate`: answer a question with a bundle. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.cli.options import json_option, print_json


@click.command(name="generate")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("question")
@click.option("--threads", default=1, show_default=True, help="Threads of onnxruntime.")
@json_option
def command(bundle: Path, question: str, threads: int, as_json: bool) -> None:
    """Answer QUESTION with the model in BUNDLE."""
    from hwsearch.runtime import Runtime

    text = Runtime(bundle, threads=threads).generate(question)
    if as_json:
        print_json({"question": question, "answer": text})
    else:
        click.echo(text)
