"""`hwsearch demo`: the whole job, and its result side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwsearch.cli.options import (
    count_option,
    json_option,
    megabytes,
    percent,
    print_json,
    print_table,
    progress_bar,
    quiet_optuna,
    seed_option,
    stderr,
    tracked,
)

if TYPE_CHECKING:
    from hwsearch.jobs.demo import Demo

TITLES = {
    "baseline": "uncompressed",
    "best_uniform": "best uniform plan",
    "winner": "winner",
}


@click.command(name="demo")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("demo"),
    show_default=True,
    help="Folder of everything that the demo writes.",
)
@click.option(
    "--target-ratio",
    type=float,
    help="Target as a share of the uncompressed model's time; one that this machine can reach if left.",
)
@count_option("--trials", 40, "Plans to try.")
@count_option("--limit", 200, "Test problems to score.")
@seed_option
@json_option
def command(
    out: Path, target_ratio: float | None, trials: int, limit: int, seed: int, as_json: bool
) -> None:
    """Search, export and verify on the bundled model and this machine's processor."""
    from hwsearch.jobs.demo import DemoOptions, run_demo

    quiet_optuna()
    with progress_bar() as bar:
        task = bar.add_task("searching", total=trials)
        demo = run_demo(
            out,
            DemoOptions(ratio=target_ratio, trials=trials, limit=limit, seed=seed),
            tracked=tracked(bar),
            on_trial=lambda done: bar.update(task, completed=done),
            say=stderr.print,
        )
    if as_json:
        print_json(demo.document())
    else:
        _show(demo)


def _show(demo: Demo) -> None:
    rows = []
    for name, title in TITLES.items():
        found = demo.contestants[name].document()
        low, high = found["accuracy_interval"]
        rows.append(
            (
                title,
                percent(found["accuracy"]),
                f"{percent(low)} to {percent(high)}",
                f"{found['predicted_ms']:.2f}",
                f"{found['measured_ms']:.2f}",
                megabytes(found["size_bytes"]),
            )
        )
    columns = ["", "accuracy", "95 % interval", "predicted ms", "measured ms", "bytes"]
    title = f"target {demo.target_ms:.2f} ms a generation: {demo.target.reason}"
    print_table(title, columns, rows)
    for index, layer in enumerate(demo.contestants["winner"].plan.layers):
        click.echo(
            f"layer {index}: sink threshold {layer.sink_threshold}, "
            f"attention {layer.attention}, mlp {layer.mlp}"
        )
    if not demo.target_met:
        over = demo.contestants["winner"].measured_ms / demo.target_ms - 1.0
        click.echo(
            f"the target was not met: the winner was measured {over:.1%} above it after "
            f"{demo.trials} trials; run it again on a quieter machine"
        )
    bundle = demo.contestants["winner"].bundle.path
    click.echo(f"the winner is in {bundle}; ask it: hwsearch generate {bundle} QUESTION")
