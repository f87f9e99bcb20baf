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
    decoding_option,
    folder_option,
    given,
    json_option,
    model_options,
    refuse_idle,
    scored_option,
    seed_option,
    task_options,
)
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import percent, print_text, progress_bar


@click.command(name="evaluate", cls=Verb)
@click.argument("model", type=MODEL)
@click.option("--path", "task_path", hidden=True)
@click.option("--split", default="test", show_default=True, help="Split of the problems.")
@scored_option(500)
@folder_option()
@decoding_option
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
    from hwsearch.runtime.bundle import BUNDLE_FILE
    from hwsearch.tasks.choice import TaskChoice

    if (Path(model) / BUNDLE_FILE).is_file():
        refuse_idle(MODEL_OPTIONS, "with a bundle, which runs as it was exported")
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
        print_text(
            f"{name}: {percent(score.accuracy)} of {len(evaluation.problems)} "
            f"(95 % interval {percent(low)} to {percent(high)})"
        )
    means = (f"{mean:.2f} {kind.value}" for kind, mean in evaluation.mean_passes.items() if mean)
    click.echo(f"passes a problem: {', '.join(means)}")
