"""`hwsearch export`: a study's plan as an ONNX bundle."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.cli.options import (
    json_option,
    megabytes,
    print_json,
    progress_bar,
    storage_option,
    tracked,
)


@click.command(name="export")
@click.argument("study_name", metavar="STUDY")
@click.option("--plan", "number", type=int, help="Number of a trial; the best plan if left.")
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder of the bundle."
)
@click.option("--limit", default=200, show_default=True, help="Test problems to score.")
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@storage_option
@json_option
def command(
    study_name: str,
    number: int | None,
    out: Path,
    limit: int,
    overwrite: bool,
    storage: str | None,
    as_json: bool,
) -> None:
    """Export a plan of STUDY as a bundle of ONNX files, measured and scored."""
    from hwsearch.jobs.exporting import export_from_study

    with progress_bar() as bar:
        bundle = export_from_study(
            study_name,
            number,
            out,
            storage=storage,
            overwrite=overwrite,
            limit=limit,
            tracked=tracked(bar),
        )
    if as_json:
        figures = bundle.manifest.figures.model_dump(mode="json")
        print_json({"bundle": str(bundle.path), "figures": figures})
    else:
        size = megabytes(bundle.size_bytes)
        click.echo(f"{bundle.path}: {size}, check it with: hwsearch verify {bundle.path}")
