"""`hwsearch profile`: time this machine's operators into a latency table."""

from __future__ import annotations

from pathlib import Path

import click

from hwsearch.cli.options import json_option, print_json, progress_bar, stderr, tracked


@click.command(name="profile")
@click.option("--device", "name", default="cpu", show_default=True, help="Name of the device.")
@click.option("--model", default="gsm-mini", show_default=True, help="Whose shapes to time.")
@click.option(
    "-o",
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("latency_tables"),
    show_default=True,
    help="Folder of devices.",
)
@click.option("--threads", default=1, show_default=True, help="Threads of the runtime.")
@click.option("--rounds", default=10, show_default=True, help="Samples an operator and session.")
@click.option("--sessions", default=3, show_default=True, help="Sessions.")
@click.option("--overwrite", is_flag=True, help="Replace a device of the same name.")
@json_option
def command(
    name: str,
    model: str,
    out: Path,
    threads: int,
    rounds: int,
    sessions: int,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Time this machine's operators, and calibrate their sums on whole-model runs."""
    from hwsearch.denoisers.loading import load_denoiser
    from hwsearch.jobs.timing import profile_machine

    with progress_bar() as bar:
        device = profile_machine(
            load_denoiser(model),
            name,
            out,
            threads=threads,
            rounds=rounds,
            sessions=sessions,
            overwrite=overwrite,
            tracked=tracked(bar),
        )
    document = {
        "device": device.info.model_dump(mode="json"),
        "operators": len(device.table.samples),
        "folder": str(device.folder),
    }
    if as_json:
        print_json(document)
        return
    line = device.info.calibrations[0]
    stderr.print(
        f"{len(device.table.samples)} operators timed into {device.folder}; sums are calibrated to "
        f"{100 * line.refresh.mape:.1f} % (refresh) and {100 * line.step.mape:.1f} % (step)"
    )
