"""`hwsearch proxies`: how well each loss ranks plans by accuracy."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.cli.help import Verb
from hwsearch.cli.options import json_option, seed_option
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import print_table


@click.command(name="proxies", cls=Verb)
@click.argument("table", required=False, type=click.Path(path_type=Path))
@click.option("--resamples", default=2000, show_default=True, help="Bootstrap resamples.")
@click.option(
    "--at-least",
    type=click.FloatRange(0, 1),
    default=0.0,
    help="Rank only plans of at least this accuracy, a share.",
)
@json_option
@seed_option
def command(table: Path | None, resamples: int, at_least: float, as_json: bool, seed: int) -> None:
    """Rank correlation of each loss with exact match, over the plans of a study.

    TABLE is the CSV that studies/proxies/run.py writes, and defaults to the one there;
    studies/proxies/decoding.csv ranks prices of decoding in the same way.
    """
    from hwsearch.report.proxies import DEFAULT_TABLE, careful, rank, read_losses

    path = table or DEFAULT_TABLE
    rankings = rank(careful(read_losses(path), at_least), resamples=resamples, seed=seed)
    if as_json:
        print_json([ranking.document() for ranking in rankings])
        return
    rows = [
        (
            found.proxy,
            f"{found.cost_passes:.0f}",
            f"{found.seconds:.2f}",
            f"{found.spearman:z.3f}",
            _span(found.spearman_interval),
            f"{found.kendall:z.3f}",
            _span(found.kendall_interval),
            _span(found.behind_interval),
        )
        for found in rankings
    ]
    columns = [
        "loss",
        "passes",
        "seconds",
        "Spearman",
        "95 %",
        "Kendall",
        "95 %",
        "behind the best",
    ]
    print_table(f"losses against exact match over {rankings[0].plans} plans", columns, rows)


def _span(interval: tuple[float, float]) -> str:
    return f"{interval[0]:z.3f} to {interval[1]:z.3f}"
