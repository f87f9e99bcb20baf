"""`hwsearch export`: a plan as an ONNX bundle, of a study or from a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsearch.cli.options import (
    MODEL_OPTIONS,
    TASK_OPTIONS,
    given,
    json_option,
    megabytes,
    model_options,
    print_json,
    progress_bar,
    storage_option,
    task_options,
)

if TYPE_CHECKING:
    from hwsearch.runtime import Bundle


@click.command(name="export")
@click.argument("study_name", required=False, metavar="[STUDY]")
@click.option(
    "--plan",
    help="Of a study the number of a trial, its best plan if left; of a model the file of a plan.",
)
@click.option(
    "--model",
    help="Whose plan it is, where no study is: a bundled model, a folder, a GGUF file, or a hub id.",
)
@click.option(
    "-o", "--out", required=True, type=click.Path(path_type=Path), help="Folder of the bundle."
)
@click.option(
    "--limit", default=200, show_default=True, help="Of a study's plan: test problems to score."
)
@click.option(
    "--references",
    type=click.IntRange(min=1),
    default=16,
    show_default=True,
    help="Of a model's plan: questions that torch answers, to verify by.",
)
@click.option("--overwrite", is_flag=True, help="Replace a bundle that is there.")
@task_options("limit")
@model_options()
@storage_option
@json_option
def command(
    study_name: str | None,
    plan: str | None,
    model: str | None,
    out: Path,
    limit: int,
    references: int,
    overwrite: bool,
    storage: str | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """Export a plan of STUDY as a bundle of ONNX files, measured and scored.

    Or export any plan of a model: --model MODEL --plan PLAN.json, neither measured nor scored.
    """
    from hwsearch.errors import InputError

    if (study_name is None) == (model is None):
        raise InputError("give a study, or --model and --plan; not both")
    if model is not None:
        bundle = of_model(model, plan, out, overwrite, references, flags)
    else:
        given = [name for name in (*TASK_OPTIONS, *MODEL_OPTIONS) if flags.get(name) is not None]
        if given:
            raise InputError(
                f"a study knows its model and its task; leave --{given[0].replace('_', '-')} out"
            )
        bundle = of_study(str(study_name), plan, out, storage, overwrite, limit)
    if as_json:
        figures = bundle.manifest.figures.model_dump(mode="json")
        print_json({"bundle": str(bundle.path), "figures": figures})
    else:
        size = megabytes(bundle.size_bytes)
        click.echo(f"{bundle.path}: {size}, check it with: hwsearch verify {bundle.path}")


def of_model(
    model: str,
    plan: str | None,
    out: Path,
    overwrite: bool,
    references: int,
    flags: dict[str, Any],
) -> Bundle:
    """The bundle of a plan in a file. Raises `InputError` where none is given."""
    from hwsearch.denoisers.loading.options import ModelOptions
    from hwsearch.errors import InputError
    from hwsearch.jobs.exporting import export_model
    from hwsearch.plan import CompressionPlan

    if plan is None:
        raise InputError("--model needs --plan FILE: a plan, such as a bundle's plan.json")
    with progress_bar():
        return export_model(
            model,
            CompressionPlan.read(Path(plan)),
            out,
            ModelOptions(**given(flags, MODEL_OPTIONS)),
            overwrite=overwrite,
            references=references,
            **given(flags, TASK_OPTIONS),
        )


def of_study(
    name: str, plan: str | None, out: Path, storage: str | None, overwrite: bool, limit: int
) -> Bundle:
    """The bundle of a study's trial. Raises `InputError` where the trial is no number."""
    from hwsearch.errors import InputError
    from hwsearch.jobs.exporting import export_from_study

    if plan is not None and not plan.isdigit():
        raise InputError(f"--plan of a study is the number of a trial; got {plan!r}")
    with progress_bar():
        return export_from_study(
            name,
            None if plan is None else int(plan),
            out,
            storage=storage,
            overwrite=overwrite,
            limit=limit,
        )
