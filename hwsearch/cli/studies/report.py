"""`hwsearch report`: one page about a study, from which a person decides."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.cli.completion import STUDY
from hwsearch.cli.help import Verb
from hwsearch.cli.options import json_option, overwrite_option, storage_option
from hwsearch.cli.output import print_json


@click.command(name="report", cls=Verb)
@click.argument("study_name", metavar="STUDY", type=STUDY)
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="The page to write."
)
@click.option(
    "--trial",
    type=int,
    help="Trial that the page is about; the measured winner, or the best, if left.",
)
@click.option(
    "--figures",
    type=click.Path(path_type=Path),
    help="Folder for every figure as PNG and SVG, too.",
)
@overwrite_option
@storage_option
@json_option
def command(
    study_name: str,
    out: Path,
    trial: int | None,
    figures: Path | None,
    overwrite: bool,
    storage: str | None,
    as_json: bool,
) -> None:
    """Write one page about STUDY: a name, or the path of its SQLite file.

    The page needs no other file and no network. No model is loaded for it; what the study does not hold
    is said in the page, with the command that would add it.
    """
    from hwsearch.jobs.reporting import write_report

    found = write_report(
        study_name, out, storage=storage, trial=trial, figures=figures, overwrite=overwrite
    )
    if as_json:
        print_json(found.document())
        return
    click.echo(f"{found.path}: {len(found.figures)} figures, {found.size_bytes / 1e3:.0f} kB")
    for reason in found.missing.values():
        click.echo(f"not shown: {reason}")
    click.echo(f"open it: {found.address}")
