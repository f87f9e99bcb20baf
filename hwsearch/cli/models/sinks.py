"""`hwsearch sinks`: how a model's attention sinks move while it writes."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Any

import click

from hwsearch.cli.completion import MODEL
from hwsearch.cli.help import Verb
from hwsearch.cli.options import (
    MODEL_OPTIONS,
    TASK_OPTIONS,
    asked_option,
    folder_option,
    given,
    json_option,
    model_options,
    refuse_idle,
    task_options,
)
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import output_width, percent, print_table, progress_bar


@click.command(name="sinks", cls=Verb)
@click.argument("model", type=MODEL)
@folder_option(required=True)
@click.option("--against", help="Another model, such as the autoregressive twin.")
@click.option(
    "--path", type=click.Path(path_type=Path), help="JSONL of problems to ask; the task's if left."
)
@asked_option(32)
@click.option("--k", default="5", show_default=True, help="Sinks of a pass: a number, or a share.")
@task_options("limit")
@model_options()
@json_option
def command(
    model: str,
    out: Path,
    against: str | None,
    path: Path | None,
    limit: int,
    k: str,
    as_json: bool,
    **flags: Any,
) -> None:
    """Record the attention sinks of MODEL while it answers, and draw them.

    MODEL and --against are models, or folders of bundles that hand out attention mass.
    """
    from hwsearch.denoisers.loading.options import ModelOptions
    from hwsearch.jobs.sinks import recorded_questions, study_sinks

    refuse_idle_options(model, against, path)
    with progress_bar() as bar:
        shown = bar.add_task("problems", total=limit * (2 if against else 1))
        found = study_sinks(
            model,
            out,
            against=against,
            questions=None if path is None else recorded_questions(path),
            count=limit,
            k=_number(k),
            options=ModelOptions(**given(flags, MODEL_OPTIONS)),
            progress=lambda done: bar.advance(shown, done),
            **given(flags, TASK_OPTIONS),
        )
    if as_json:
        print_json(found)
        return
    for said in found["sinks"]:
        print_sinks(said)
    rows = [(row["question"], row["verdict"], row["words"]) for row in found["findings"]]
    print_table(f"what is claimed of models like {model}", ["question", "claim", "answer"], rows)
    click.echo(f"written to {found['page']}")


def refuse_idle_options(model: str, against: str | None, path: Path | None) -> None:
    """Refuse what would be passed over. Raises `InputError`."""
    from hwsearch.runtime.bundle import BUNDLE_FILE

    if path is not None:
        refuse_idle(["task_path", "calibration"], "with --path, which says what is asked")
    if all((Path(name) / BUNDLE_FILE).is_file() for name in (model, against or model)):
        refuse_idle(MODEL_OPTIONS, "with a bundle, which runs as it was exported")


def print_sinks(said: dict[str, Any]) -> None:
    """One model's sinks: sentences, then a table of places."""
    click.echo(f"attention sinks of {said['model']}")
    for sentence in said["words"]:
        width = min(110, output_width())
        click.echo(textwrap.fill(sentence, width, initial_indent="  ", subsequent_indent="    "))
    rows = [
        (
            place["name"],
            f"{percent(place['share'])} ({percent(place['low'])} to {percent(place['high'])})",
            f"{place['times_even']:.1f}",
            percent(place["sink"]),
            percent(place["heaviest"]),
            f"{place['strongest_layer']} ({percent(max(place['by_layer']))})",
        )
        for place in said["where"]
    ]
    if rows:
        columns = ["place", "share of attention (95 %)", "times even", "a sink in", "heaviest in"]
        print_table("", [*columns, "strongest layer"], rows)


def _number(text: str) -> float:
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no number", param_hint="--k") from error
