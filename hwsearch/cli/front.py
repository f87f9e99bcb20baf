"""`hwsearch front`: the Pareto front of a study."""

from __future__ import annotations

import sys
from pathlib import Path
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
@click.option("--picture", type=click.Path(path_type=Path), help="Draw it, too: PNG, SVG or PDF.")
@storage_option
@json_option
def command(
    study_name: str, form: str, picture: Path | None, storage: str | None, as_json: bool
) -> None:
    """Print the Pareto front of STUDY: a name, or the path of its SQLite file."""
    from hwsearch.search import load_study

    study = load_study(study_name, storage)
    if picture is not None:
        from hwsearch.report import draw_front

        draw_front(study, picture)
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
    rows: list[tuple[object, ...]] = [
        (
            row["number"],
            f"{row['loss']:.5f}",
            f"{row['generation_ms']:.2f}",
            megabytes(row["size_bytes"]),
            "yes" if row["feasible"] else "no",
            "yes" if row["uniform"] else "no",
        )
        for row in study.front().to_dict(orient="records")
    ]
    return ["trial", "loss (nats)", "generation ms", "size", "meets target", "uniform"], rows
