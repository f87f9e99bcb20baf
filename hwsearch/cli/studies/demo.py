"""`hwsearch demo`: the whole job, and its result side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from hwsearch.cli.help import Verb
from hwsearch.cli.options import (
    folder_option,
    json_option,
    scored_option,
    seed_option,
    target_ratio_option,
    trials_option,
)
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import (
    megabytes,
    percent,
    print_table,
    print_text,
    progress_bar,
    quiet_optuna,
    say,
)

if TYPE_CHECKING:
    from hwsearch.jobs.demo.run import Demo


@click.command(name="demo", cls=Verb)
@folder_option(Path("demo"))
@target_ratio_option
@trials_option(40)
@scored_option(500)
@seed_option
@json_option
def command(
    out: Path, target_ratio: float | None, trials: int, limit: int, seed: int, as_json: bool
) -> None:
    """Search, export and verify on the bundled model and this machine's processor.

    Without --target-ratio the target is a share that this machine can reach, told before the search.
    """
    from hwsearch.jobs.demo.run import DemoOptions, run_demo

    quiet_optuna()
    with progress_bar() as bar:
        task = bar.add_task("searching", total=trials)
        demo = run_demo(
            out,
            DemoOptions(ratio=target_ratio, trials=trials, limit=limit, seed=seed),
            on_trial=lambda done: bar.update(task, completed=done),
            say=say,
        )
    if as_json:
        print_json(demo.document())
    else:
        _show(demo)


def _show(demo: Demo) -> None:
    from hwsearch.jobs.demo.waterfall import TITLES

    rows = []
    for name in demo.contestants:
        found = demo.contestants[name].document()
        low, high = found["accuracy_interval"]
        rows.append(
            (
                TITLES[name],
                f"{found['measured_passes']:.1f}",
                f"{found['predicted_ms']:.1f}",
                f"{found['measured_ms']:.1f}",
                f"{demo.faster(name):.1f}",
                f"{found['tokens_per_second']:.0f}",
                percent(found["accuracy"]),
                f"{percent(low)} to {percent(high)}",
                megabytes(found["size_bytes"]),
            )
        )
    columns = [
        "", "passes", "predicted ms", "measured ms", "times faster", "tokens/s", "accuracy",
        "95 % interval", "bytes",
    ]  # fmt: skip
    title = f"target {demo.target_ms:.2f} ms a generation, as measured: {demo.target.reason}"
    print_table(title, columns, rows)
    lost, (low, high) = demo.against_baseline.difference, demo.against_baseline.interval
    print_text(
        f"winner against the uncompressed model, on the same problems: {100 * lost:+z.1f} points of accuracy "
        f"({100 * low:+z.1f} to {100 * high:+z.1f})"
    )
    print_text(f"decoding: {demo.contestants['winner'].bundle.manifest.decoding.words}")
    for index, layer in enumerate(demo.contestants["winner"].plan.layers):
        formats = ", ".join(f"{name} {fmt}" for name, fmt in layer.formats.items())
        click.echo(f"layer {index}: sink threshold {layer.sink_threshold}, {formats}")
    if not demo.target_met:
        over = demo.contestants["winner"].measured_ms / demo.target_ms - 1.0
        print_text(
            f"the target was not met: the winner was measured {over:.1%} above it after "
            f"{demo.trials} trials; run it again on a quieter machine"
        )
    elif demo.contestants["winner"].plan == demo.contestants["best_uniform"].plan:
        print_text(
            "no searched plan was better within the target than the best uniform one, which wins"
        )
    bundle = demo.contestants["winner"].bundle.path
    click.echo(f"the winner is in {bundle}; ask it: hwsearch generate {bundle} QUESTION")
    if demo.report is not None:
        click.echo(f"all of it on one page: {demo.report.address}")
