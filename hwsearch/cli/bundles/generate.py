"""`hwsearch generate`: answer a question with a bundle. Imports no torch."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.cli.options import json_option, print_json, seed_option


@click.command(name="generate")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("question")
@click.option("--threads", default=1, show_default=True, help="Threads of onnxruntime.")
@click.option("--plain", is_flag=True, help="Leave the model's chat template aside.")
@click.option(
    "--stop", "stops", multiple=True, help="A text that ends the answer; may be repeated."
)
@json_option
@seed_option
def command(
    bundle: Path,
    question: str,
    threads: int,
    plain: bool,
    stops: tuple[str, ...],
    as_json: bool,
    seed: int,
) -> None:
    """Answer QUESTION with the model in BUNDLE; an instruct model by its chat template."""
    from hwsearch.runtime import Runtime

    runtime = Runtime(bundle, threads=threads)
    text = runtime.generate(question, seed=seed, plain=plain, stops=stops)
    if as_json:
        print_json({"question": question, "answer": text})
    else:
        click.echo(text)
