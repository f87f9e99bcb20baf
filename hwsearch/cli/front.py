"""`hwsearch front`: the Pareto front of a study."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwsearch.cli.options import (
    json_option,
    megabytes,
    percent,
    print_json,
    print_table,
    storage_option,
)

if TYPE_CHECKING:
    from hwsearch.plan import CachePolicy, CompressionPlan
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
@click.option(
    "--target-ms", type=float, help="Answer this target from the finished trials instead."
)
@storage_option
@json_option
def command(
    study_name: str,
    form: str,
    picture: Path | None,
    target_ms: float | None,
    storage: str | None,
    as_json: bool,
) -> None:
    """Print the Pareto front of STUDY: a name, or the path of its SQLite file.

    With --target-ms, print the best plan for another target. It comes from the finished trials
    and the model fitted to them; nothing is evaluated, and neither model nor device is loaded.
    """
    from hwsearch.search import load_study

    study = load_study(study_name, storage)
    if target_ms is not None:
        answer_target(study, target_ms, as_json or form == "json")
        return
    if picture is not None:
        from hwsearch.report import draw_front

        draw_front(study, picture)
    front = study.front()
    if as_json or form == "json":
        front["plan"] = [plan.model_dump(mode="json") for plan in front["plan"]]
        print_json(front.astype(object).where(front.notna(), None).to_dict(orient="records"))
    elif form == "csv":
        front["plan"] = [plan.model_dump_json() for plan in front["plan"]]
        front.to_csv(sys.stdout, index=False)
    else:
        columns, rows = front_rows(study)
        print_table(f"front of {study.name} (target {study.target_ms:.2f} ms)", columns, rows)


def answer_target(study: Study, target_ms: float, as_json: bool) -> None:
    """Print the best plan known for another target."""
    from hwsearch.search import resolve

    found = resolve(study, target_ms)
    if as_json:
        document = {**asdict(found), "loss_is": found.loss_is, "study": study.name}
        print_json({**document, "plan": found.plan.model_dump(mode="json")})
        return
    if found.trial is None:
        click.echo(
            f"no trial of {study.name} tried the best plan for {target_ms:.2f} ms; its loss is "
            f"predicted by the additive model from {len(study.frame())} trials, not evaluated: "
            f"hwsearch search --name {study.name} --target-ms {target_ms:g} evaluates it",
            err=True,
        )
    loss = f"{found.loss:.5f}" + ("" if found.trial is not None else f" ± {found.spread:.5f}")
    uniform = "-" if found.uniform_loss is None else f"{found.uniform_loss:.5f}"
    print_table(
        f"best plan of {study.name} within {target_ms:.2f} ms",
        ["trial", f"loss ({found.loss_is}, nats)", "generation ms", "size", "best uniform loss"],
        [
            (
                "-" if found.trial is None else found.trial,
                loss,
                f"{found.generation_ms:.2f}",
                megabytes(found.size_bytes),
                uniform,
            )
        ],
    )
    print_table("its layers", *plan_rows(found.plan))
    if found.plan.cache != type(found.plan.cache)():
        click.echo(cache_line(found.plan.cache))


def plan_rows(plan: CompressionPlan) -> tuple[list[str], list[tuple[object, ...]]]:
    """A plan as a table's columns and rows."""
    rows: list[tuple[object, ...]] = [
        (
            index,
            layer.sink_threshold,
            layer.attention.value,
            layer.kept_heads or "all",
            layer.mlp.value,
            layer.kept_channels or "all",
        )
        for index, layer in enumerate(plan.layers)
    ]
    rows.append(("head", "", "", "", plan.head.value, ""))
    return ["layer", "sink threshold", "attention", "heads", "mlp", "channels"], rows


def cache_line(cache: CachePolicy) -> str:
    """By which rule positions stay, and how many of them when.

    >>> from hwsearch.plan import CachePolicy
    >>> cache_line(CachePolicy(late_scale=0.5))
    'cached positions by keep-stable; shares x 1 while more than 50.0 % is unwritten, then x 0.5'
    """
    line = f"cached positions by {cache.rule.value}"
    if cache.early_scale == cache.late_scale == 1.0:
        return line
    return (
        f"{line}; shares x {cache.early_scale:g} while more than {percent(cache.boundary)} is "
        f"unwritten, then x {cache.late_scale:g}"
    )


def front_rows(study: Study) -> tuple[list[str], list[tuple[object, ...]]]:
    """The front as a table's columns and rows."""
    import pandas as pd

    rows: list[tuple[object, ...]] = [
        (
            row["number"],
            f"{row['loss']:.5f}",
            f"{row['generation_ms']:.2f}",
            megabytes(row["size_bytes"]),
            "yes" if row["feasible"] else "no",
            "yes" if row["uniform"] else "no",
            "-" if pd.isna(row["uniform_loss"]) else f"{row['uniform_loss']:.5f}",
        )
        for row in study.front().to_dict(orient="records")
    ]
    columns = ["trial", "loss (nats)", "generation ms", "size", "meets target", "uniform"]
    return [*columns, "best uniform in that time"], rows
