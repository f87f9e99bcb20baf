"""`hwsearch sinks`: how a model's attention sinks move while it writes."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.cli.options import json_option, print_json, print_table, progress_bar


@click.command(name="sinks")
@click.argument("model")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="Folder to write."
)
@click.option("--against", help="Another model, such as the autoregressive twin.")
@click.option("--path", type=click.Path(path_type=Path), help="JSONL of problems to ask.")
@click.option("--limit", default=32, show_default=True, help="Problems at most.")
@click.option("--k", default="5", show_default=True, help="Sinks of a pass: a number, or a share.")
@click.option("--torch-device", default="cpu", show_default=True, help="Such as cpu or cuda.")
@json_option
def command(
    model: str,
    out: Path,
    against: str | None,
    path: Path | None,
    limit: int,
    k: str,
    torch_device: str,
    as_json: bool,
) -> None:
    """Record the attention sinks of MODEL while it answers, and draw them.

    MODEL and --against are models, or folders of bundles that hand out attention mass.
    """
    from hwsearch.jobs.sinks import recorded_questions, study_sinks

    with progress_bar() as bar:
        shown = bar.add_task("problems", total=limit * (2 if against else 1))
        found = study_sinks(
            model,
            out,
            against=against,
            questions=None if path is None else recorded_questions(path),
            count=limit,
            k=_number(k),
            torch_device=torch_device,
            progress=lambda done: bar.advance(shown, done),
        )
    if as_json:
        print_json(found)
        return
    rows = [(row["question"], row["verdict"], row["words"]) for row in found["findings"]]
    print_table(f"attention sinks of {model}", ["question", "claim", "answer"], rows)
    click.echo(f"written to {found['page']}")


def _number(text: str) -> float:
    try:
        return int(text) if text.lstrip("-").isdigit() else float(text)
    except ValueError as error:
        raise click.BadParameter(f"{text!r} is no number", param_hint="--k") from error
