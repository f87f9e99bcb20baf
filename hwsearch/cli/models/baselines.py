"""`hwsearch baselines`: pruning methods side by side on the task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsearch.cli.completion import MODEL
from hwsearch.cli.help import Verb
from hwsearch.cli.options import (
    MODEL_OPTIONS,
    TASK_OPTIONS,
    count_option,
    folder_option,
    given,
    json_option,
    model_options,
    scored_option,
    seed_option,
    task_options,
)
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import percent, print_table, progress_bar

if TYPE_CHECKING:
    from hwsearch.report.baselines import BaselineRow


@click.command(name="baselines", cls=Verb)
@click.argument("model", type=MODEL)
@folder_option(required=True)
@scored_option(500)
@click.option(
    "--families", default="cache,structured,unstructured", show_default=True,
    help="Of cache, structured, unstructured and 2:4.",
)  # fmt: skip
@click.option("--methods", default="", help="Names of methods; all where none is given.")
@click.option("--shares", default="0.3,0.5", show_default=True, help="Pruned shares answered for.")
@click.option(
    "--sweep", default="0.1,0.2,0.4,0.6,0.7", show_default=True, help="Pruned shares of KL alone."
)
@count_option("--calibration-problems", 64, "Problems to calibrate on.")
@click.option(
    "--part", default="1/1", show_default=True, help="2/3 takes each third row from row 2."
)
@count_option("--rounds", 15, "Rounds of timing.")
@task_options("limit", "calibration")
@model_options()
@json_option
@seed_option
def command(
    model: str,
    out: Path,
    limit: int,
    families: str,
    methods: str,
    shares: str,
    sweep: str,
    calibration_problems: int,
    part: str,
    rounds: int,
    as_json: bool,
    seed: int,
    **flags: Any,
) -> None:
    """Prune MODEL by every method, and measure accuracy, KL and speed of each.

    Finished rows stay in the folder; the same command goes on where it was cut off. Parts of a run,
    ``--part 1/2`` and ``--part 2/2``, may run side by side.
    """
    from hwsearch.jobs.baselines import RowSelection, Settings, run_baselines
    from hwsearch.report.baselines import documents

    with progress_bar():
        rows = run_baselines(
            Settings(
                model,
                limit,
                seed,
                calibration_problems,
                given(flags, TASK_OPTIONS),
                given(flags, MODEL_OPTIONS),
            ),
            out,
            RowSelection(
                families=_names(families),
                methods=_names(methods),
                shares=_floats(shares, "--shares"),
                sweep=_floats(sweep, "--sweep"),
                part=_part(part),
            ),
            rounds=rounds,
        )
    if as_json:
        print_json(documents(rows))
        return
    print_rows(model, rows)
    click.echo(f"written to {out / 'baselines.md'}, baselines.csv and baselines.png")


def print_rows(model: str, rows: list[BaselineRow]) -> None:
    """Accuracy, KL and speed of each method, but for those of which the KL alone was measured."""
    shown = [
        (
            row.family,
            row.method,
            percent(row.share),
            percent(row.solved / len(row.correct)),
            f"{percent(row.interval.low)} to {percent(row.interval.high)}",
            f"{row.kl:z.3f}",
            "-" if row.speed_up is None else f"{row.speed_up:.2f}",
        )
        for row in rows
        if row.correct
    ]
    columns = ["pruned", "method", "share", "exact match", "95 %", "KL", "speed-up"]
    print_table(f"pruning {model}", columns, shown)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _floats(text: str, option: str) -> list[float]:
    try:
        return [float(part) for part in _names(text)]
    except ValueError as error:
        raise click.BadParameter(f"{text!r} must be numbers", param_hint=option) from error


def _part(text: str) -> tuple[int, int]:
    first, _, parts = text.partition("/")
    if not (first.isdigit() and parts.isdigit() and 1 <= int(first) <= int(parts)):
        raise click.BadParameter(f"{text!r} must be I/N with 1 <= I <= N", param_hint="--part")
    return int(first), int(parts)
