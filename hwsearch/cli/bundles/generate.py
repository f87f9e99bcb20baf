"""`hwsearch generate`: answer a question with a bundle. Imports no torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.live import Live
from rich.text import Text

from hwsearch.cli.help import Verb
from hwsearch.cli.options import json_option, refuse_idle, seed_option, threads_option
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import PipedConsole


@click.command(name="generate", cls=Verb)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.argument("question")
@threads_option
@click.option(
    "--suffix", default="", help="Text behind the answer, which fills the blank before it."
)
@click.option("--plain", is_flag=True, help="Leave the model's chat template aside.")
@click.option(
    "--stop", "stops", multiple=True, help="A text that ends the answer; may be repeated."
)
@click.option("--stream", is_flag=True, help="Show the answer while it is written, on a terminal.")
@click.option(
    "--runtime", help="Insist on what runs it: refuse a bundle that was exported for another."
)
@json_option
@seed_option
def command(
    bundle: Path,
    question: str,
    suffix: str,
    threads: int,
    plain: bool,
    stops: tuple[str, ...],
    stream: bool,
    runtime: str | None,
    as_json: bool,
    seed: int,
) -> None:
    """Answer QUESTION with the model in BUNDLE; an instruct model by its chat template."""
    from hwsearch.runtime import Runtime

    if as_json:
        refuse_idle(["stream"], "with --json, which prints one document")
    engine = Runtime(bundle, threads=threads, provider=runtime)
    with _shown(stream and sys.stdout.isatty()) as on_text:
        text = engine.generate(
            question, suffix=suffix, seed=seed, plain=plain, stops=stops, on_text=on_text
        )
    if as_json:
        behind = {"suffix": suffix} if suffix else {}
        print_json({"question": question, **behind, "answer": text})
    else:
        click.echo(text)


@contextmanager
def _shown(shown: bool) -> Iterator[Callable[[str], None] | None]:
    """What redraws the text of an answer in its place, masks dim; nothing of it is left behind."""
    if not shown:
        yield None
        return
    from hwsearch.decoding.answer import UNWRITTEN

    def draw(text: str) -> None:
        drawn = Text(text)
        drawn.highlight_words([UNWRITTEN], "dim")
        live.update(drawn, refresh=True)

    with Live(console=PipedConsole(), transient=True, auto_refresh=False) as live:
        yield draw
