"""`hwsearch front`: the Pareto front of a study."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from hwsearch.cli.options import json_option, megabytes, print_json, print_table, storage_option

if TYPE_CHECKING:
    from hwsearch.search import Study


@click.command(name="front")
@click.argument("study_name", metavar="STUDY")
@click.option(
    "--format",
    "form",
    type=click.Choice(["table", "csv", "json"]),
    default="table",
    show_default=True,
)
@storage_option
@json_option
def command(study_name: str, form: str, storage: str | None, as_json: bool) -> None:
    """Print the Pareto front of STUDY: a name, or the path of its SQLite file."""
    from hwsearch.search import load_study

    study = load_study(study_name, storage)
    front = study.front()
    if as_json or form == "json":
        front["plan"] = [plan.model_dump(mode="json") for plan in front["plan"]]
        print_json(front.to_dict(orient="records"))
    elif form == "csv":
        front["plan"] = [plan.model_dump_json() for plan in front["plan"]]
        front.to_csv(sys.stdout, index=False)
    else:
        columns, rows = front_rows(study)
        print_table(f"front of {study.name} (target {study.target_ms:.2f} ms)", columns, rows)


def front_rows(study: Study) -> tuple[list[str], list[tuple[object, ...]]]:
    """The front as a table's columns and rows."""
    rows = [
        (
            row.number,
            f"{row.loss:.5f}",
            f"{row.generation_ms:.2f}",
            megabytes(row.size_bytes),
            "yes" if row.feasible else "no",
            "yes" if row.uniform else "no",
        )
        for row in study.front().itertuples()
    ]
    return ["trial", "loss (nats)", "generation ms", "size", "meets target", "uniform"], rows
