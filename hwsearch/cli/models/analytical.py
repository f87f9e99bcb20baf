"""`hwsearch analytical`: diffusion that is computed from data, without a network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hwsearch.cli.help import Verb
from hwsearch.cli.options import count_option, folder_option, json_option, seed_option
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import print_table, progress_bar


@click.command(name="analytical", cls=Verb)
@click.argument("data")
@click.option(
    "--method",
    default="indexed",
    show_default=True,
    help="optimal, wiener, local, golden, golden-local or indexed.",
)
@click.option(
    "--schedule", default="linear", show_default=True, help="Noise schedule: linear or cosine."
)
@click.option("--points", type=click.IntRange(min=20), help="Data points, drawn; all if left.")
@count_option("--steps", 10, "Levels of noise that a sample passes, and that are measured.")
@count_option("--samples", 16, "Samples to draw.")
@click.option("--no-cost", is_flag=True, help="Leave out the cost against the number of points.")
@folder_option()
@json_option
@seed_option
def command(data: str, out: Path | None, as_json: bool, **flags: Any) -> None:
    """Draw samples of DATA by a denoiser that is computed from it.

    DATA is digits, patches, mixture, or a .npy file of floats [points, ...]. Shows how many points the
    posterior averages at each level of noise, how near the method is to a scan of all points, and
    what it costs against the number of points.
    """
    from hwsearch.analytical.datasets import load_points
    from hwsearch.jobs.analytical import AnalyticalRequest, run_analytical, write_drawn

    points = load_points(data, flags["points"], flags["seed"])
    request = AnalyticalRequest(
        method=flags["method"],
        schedule=flags["schedule"],
        steps=flags["steps"],
        samples=flags["samples"],
        timed=not flags["no_cost"],
        seed=flags["seed"],
    )
    with progress_bar():
        found = run_analytical(points, request)
    written = [] if out is None else write_drawn(found, points, out)
    document = found.document | {"files": [str(path) for path in written]}
    if as_json:
        print_json(document)
        return
    print_levels(document)
    print_cost(document)
    for path in written:
        click.echo(f"written to {path}")


def print_levels(document: dict[str, Any]) -> None:
    """Concentration and agreement, a level a row."""
    levels = zip(document["concentration"], document["agreement"], strict=True)
    rows = [
        (
            f"{here['alpha_bar']:.5f}",
            f"{here['sigma']:.3f}",
            f"{here['effective_points']:.1f}",
            f"{here['effective_points_low']:.1f} to {here['effective_points_high']:.1f}",
            f"{here['entropy_nats']:z.2f}",
            f"{near['r2']:z.4f}",
            f"{near['mse_to_clean']:.4f}",
        )
        for here, near in levels
    ]
    columns = ["alpha-bar", "sigma", "points averaged", "middle half", "entropy, nats"]
    print_table(
        f"{document['data']}, {document['points']:,} points of {document['size']} numbers: the "
        f"posterior, and {document['method']} beside a scan of all",
        [*columns, "r2 to the scan", "squared error"],
        rows,
    )


def print_cost(document: dict[str, Any]) -> None:
    """Milliseconds a point and level, by number of points."""
    if not document["cost"]:
        return
    columns = list(document["cost"][0])
    rows = [
        (row["points"], *(f"{row[name]:.3f}" for name in columns[1:])) for row in document["cost"]
    ]
    print_table("milliseconds to denoise a point once", columns, rows)
