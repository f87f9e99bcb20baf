"""`hwsearch evaluate`: score a model or a bundle on a task."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click

from hwsearch.cli.options import json_option, percent, print_json, progress_bar, seed_option


@click.command(name="evaluate")
@click.argument("model")
@click.option(
    "--task", default="gsm-mini", show_default=True, help="A task; see hwsearch ls tasks."
)
@click.option("--path", type=click.Path(path_type=Path), help="File of the task's problems.")
@click.option("--split", default="test", show_default=True, help="Split of the problems.")
@click.option("--limit", default=500, show_default=True, help="Problems at most.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), help="Folder for results and samples."
)
@click.option("--shots", type=click.Path(path_type=Path), help="JSONL of solved problems to show.")
@click.option("--apply-chat-template", is_flag=True, help="Ask by the model's chat template.")
@click.option("--dtype", default="float32", show_default=True, help="Arithmetic of a model.")
@click.option("--torch-device", default="cpu", show_default=True, help="Such as cpu or cuda.")
@click.option(
    "--decoding",
    type=click.Path(path_type=Path),
    help="JSON file of how to decode; the fields left out are the model's own.",
)
@json_option
@seed_option
def command(
    model: str,
    task: str,
    path: Path | None,
    split: str,
    limit: int,
    out: Path | None,
    shots: Path | None,
    apply_chat_template: bool,
    dtype: str,
    torch_device: str,
    decoding: Path | None,
    as_json: bool,
    seed: int,
) -> None:
    """Score MODEL, or the bundle in that folder, on a task."""
    from hwsearch.jobs.evaluation import EvaluationSettings, evaluate_model
    from hwsearch.plan import Decoding

    settings = EvaluationSettings(
        task, path, split, limit, seed, shots, apply_chat_template, dtype, torch_device
    )
    if decoding is not None:
        settings = replace(settings, decoding=Decoding.read_changes(decoding))
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
