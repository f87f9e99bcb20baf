"""`hwsearch search`: the plan of least loss within a latency target."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from hwsearch.cli.front import front_rows
from hwsearch.cli.options import (
    json_option,
    print_json,
    print_table,
    progress_bar,
    quiet_optuna,
    storage_option,
)


@click.command(name="search")
@click.argument(
    "study_file", required=False, type=click.Path(path_type=Path), metavar="[STUDY.toml]"
)
@click.option("--model", help="A bundled model, a folder, or a hub id.")
@click.option("--device", help="A device of latency_tables/, or its folder.")
@click.option("--target-ms", type=float, help="Most milliseconds of a generation.")
@click.option("--target-ratio", type=float, help="The same as a share of the uncompressed model's.")
@click.option("--trials", type=int, help="Finished trials the study shall have.")
@click.option("--sampler", help="additive, tpe, gp, nsga2 or random.")
@click.option("--loss", help="kl, nll, digits or agreement; see hwsearch proxies.")
@click.option("--name", help="Name of the study; one that exists is continued.")
@click.option("--formats", help="Formats to offer, comma separated.")
@click.option("--thresholds", help="Sink thresholds to offer, comma separated.")
@click.option("--seed", type=int, help="Seed of the sampler.")
@storage_option
@click.option("--dry-run", is_flag=True, help="Print the resolved study and stop.")
@json_option
def command(study_file: Path | None, as_json: bool, dry_run: bool, **flags: Any) -> None:
    """Search the plan of least loss within a latency target.

    What to search comes from STUDY.toml, or from flags, or from both; flags win.
    """
    from hwsearch.search.spec import StudySpec

    spec = StudySpec.resolve(study_file, flags)
    if dry_run:
        click.echo(spec.to_toml(), nl=False)
        return
    from hwsearch.search.spec import run_spec

    quiet_optuna()
    with progress_bar() as bar:
        task = bar.add_task("trials", total=spec.trials)
        study = run_spec(spec, on_trial=lambda done: bar.update(task, completed=done))
    best = study.feasible().iloc[0]
    if as_json:
        print_json(
            {
                "study": study.name,
                "target_ms": study.target_ms,
                "trials": len(study.frame()),
                "best": {
                    "number": int(best["number"]),
                    "loss": best["loss"],
                    "generation_ms": best["generation_ms"],
                    "size_bytes": int(best["size_bytes"]),
                    "plan": best["plan"].model_dump(mode="json"),
                },
            }
        )
        return
    columns, rows = front_rows(study)
    print_table(f"front of {study.name} (target {study.target_ms:.2f} ms)", columns, rows)
