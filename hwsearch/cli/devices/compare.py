"""`hwsearch compare`: one study's plans on several devices."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsearch.cli.completion import STUDY
from hwsearch.cli.devices.comparison_tables import print_best, print_cross, remarks
from hwsearch.cli.help import Verb
from hwsearch.cli.options import (
    json_option,
    objective_option,
    picture_option,
    prompt_length_option,
    refuse_idle,
    sizes_option,
    storage_option,
    target_ratio_option,
)
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import print_text

if TYPE_CHECKING:
    from hwsearch.jobs.comparing.devices import DeviceComparison


@click.command(name="compare", cls=Verb)
@click.argument("study", required=False, type=STUDY)
@click.option("--devices", required=True, help="Devices, comma separated.")
@sizes_option("--shapes-of", "--model", "model")
@prompt_length_option
@target_ratio_option
@objective_option
@click.option(
    "--evaluate",
    type=click.IntRange(min=0),
    default=0,
    help="Predicted plans to try for each device: further trials of STUDY.",
)
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Every plan and device.")
@picture_option
@storage_option
@json_option
def command(
    study: str | None,
    model: str | None,
    csv_path: Path | None,
    picture: Path | None,
    as_json: bool,
    **flags: Any,
) -> None:
    """The best plan of STUDY for each device, and what it costs on the others.

    A plan loses the same everywhere, so the study's trials tell for every device which untried plan
    is best in the formats that it has. Such a plan is marked as predicted, and --evaluate tries it.

    The target is a share of each device's uncompressed plan: --target-ratio, the study's own, or 0.5.
    Energy orders one device's plans as time does, and devices otherwise.

    Without a study, --shapes-of compares the uniform plans of a model, or of a config.json.
    """
    found = compared(study, model, flags)
    if csv_path is not None:
        found.frame().to_csv(csv_path, index=False)
    if picture is not None and found.chosen():
        draw(found, picture)
    if as_json:
        print_json(document(found))
        leave(found)
        return
    print_best(found)
    print_cross(found)
    for line in remarks(found):
        print_text(line)
    leave(found)


def leave(found: DeviceComparison) -> None:
    """Exit code 1 where no device runs any plan: the answer is no."""
    if not found.chosen():
        sys.exit(1)


def compared(study: str | None, model: str | None, flags: dict[str, Any]) -> DeviceComparison:
    """The comparison that the flags ask for."""
    from hwsearch.errors import InputError
    from hwsearch.jobs.comparing.devices import compare_study, compare_uniform

    names = [name.strip() for name in flags["devices"].split(",") if name.strip()]
    shared = {"ratio": flags["target_ratio"], "objective": flags["objective"]}
    if (study is None) == (model is None):
        raise InputError("give exactly one of STUDY and --shapes-of MODEL")
    if study is not None:
        refuse_idle(["prompt_length"], "with a study, whose prompts are known")
        return compare_study(
            study, names, storage=flags["storage"], evaluate=flags["evaluate"], **shared
        )
    refuse_idle(["evaluate", "storage"], "without a study, whose plans it is about")
    assert model is not None
    return compare_uniform(model, names, prompt_length=flags["prompt_length"], **shared)


def draw(found: DeviceComparison, path: Path) -> None:
    """Draw the cross table."""
    from hwsearch.report.comparison import draw_cross

    chosen = found.chosen()
    ratios = [
        [None if c.cells[i].latency is None else c.cells[i].ratio for c in found.columns]
        for i in chosen
    ]
    plans = [found.candidates[i].name for i in chosen]
    devices = [f"{c.name}\n({c.predictor.device.info.provenance.value})" for c in found.columns]
    draw_cross(found.title, plans, devices, ratios, found.ratio, path)


def document(found: DeviceComparison) -> dict[str, Any]:
    """The comparison as plain data."""
    frame = found.frame()
    rows = frame.astype(object).where(frame.notna(), None).to_dict(orient="records")
    return {
        "title": found.title,
        "target_ratio": found.ratio,
        "unit": found.unit,
        "devices": [
            {
                "device": column.name,
                "runtime": column.predictor.device.info.runtime,
                "provenance": column.predictor.device.info.provenance.value,
                "calibrated": column.predictor.calibration is not None,
                "note": column.note,
                "uncompressed": column.uncompressed,
                "target": column.target,
                "runs": found.runs(column),
                "best": None if column.best is None else found.candidates[column.best].name,
                "best_plan": None
                if column.best is None
                else found.candidates[column.best].plan.model_dump(mode="json"),
                "loss_is": None
                if column.best is None
                else found.candidates[column.best].loss_is or None,
            }
            for column in found.columns
        ],
        "unpriced": [asdict(device) for device in found.unpriced],
        "cross": [
            {
                "plan": found.candidates[place].name,
                **{
                    c.name: {
                        "cost": None if c.penalty(place) is None else c.cells[place].cost,
                        "more_than_best": c.penalty(place),
                        "meets_target": c.cells[place].meets,
                        "why_not": c.cells[place].why_not,
                    }
                    for c in found.columns
                },
            }
            for place in found.chosen()
        ],
        "rows": rows,
        "remarks": remarks(found),
    }
