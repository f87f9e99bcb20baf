"""`hwsearch evaluate`: score a model or a bundle on a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hwsearch.cli.completion import MODEL
from hwsearch.cli.help import Verb
from hwsearch.cli.options import (
    MODEL_OPTIONS,
    TASK_OPTIONS,
    given,
    json_option,
    model_options,
    percent,
    progress_bar,
    seed_option,
    task_options,
)
from hwsearch.cli.output import print_json


@click.command(name="evaluate", cls=Verb)
@click.argument("model", type=MODEL)
@click.option("--path", "task_path", hidden=True)
@click.option("--split", default="test", show_default=True, help="Split of the problems.")
@click.option("--limit", default=500, show_default=True, help="Problems at most.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Folder for results and samples."
)
@click.option(
    "--decoding",
    type=click.Path(path_type=Path),
    help="JSON file of how to decode; the fields left out are the model's own.",
)
@task_options("limit", "calibration")
@model_options()
@json_option
@seed_option
def command(
    model: str,
    split: str,
    limit: int,
    out: Path | None,
    decoding: Path | None,
    as_json: bool,
    seed: int,
    **flags: Any,
) -> None:
    """Score MODEL, or the bundle in that folder, on a task."""
    from hwsearch.denoisers.loading.options import ModelOptions
    from hwsearch.jobs.evaluation import EvaluationSettings, evaluate_model
    from hwsearch.plan import Decoding
    from hwsearch.tasks.choice import TaskChoice

    settings = EvaluationSettings(
        TaskChoice(**given(flags, TASK_OPTIONS)),
        split,
        limit,
        seed,
        ModelOptions(**given(flags, MODEL_OPTIONS)),
        {} if decoding is None else Decoding.read_changes(decoding),
    )
    with progress_bar() as bar:
        shown = bar.add_task("problems", total=limit)
        evaluation = evaluate_model(model, settings, lambda done: bar.advance(shown, done))
    from hwsearch.tasks.harness_results import results, write_results

    if out is not None:
        write_results(out, evaluation, model)
    if as_json:
        print_json(results(evaluation, model))
        return
    for name, score in evaluation.scores.items():
        low, high = score.interval
        click.echo(
            f"{name}: {percent(score.accuracy)} of {len(evaluation.problems)} "
            f"(95 % interval {percent(low)} to {percent(high)})"
        )
    means = (f"{mean:.2f} {kind.value}" for kind, mean in evaluation.mean_passes.items() if mean)
    click.echo(f"passes a problem: {', '.join(means)}")
