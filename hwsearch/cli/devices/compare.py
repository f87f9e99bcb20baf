"""`hwsearch compare`: one study's plans on several devices."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsearch.cli.options import (
    json_option,
    percent,
    print_json,
    print_table,
    storage_option,
)

if TYPE_CHECKING:
    from hwsearch.jobs.comparison import DeviceComparison
    from hwsearch.latency.prediction.comparison import Column, Unpriced


@click.command(name="compare")
@click.argument("study", required=False)
@click.option("--devices", required=True, help="Devices, comma separated.")
@click.option("--shapes-of", "model", help="Without a study: a model's uniform plans.")
@click.option(
    "--prompt-length",
    type=click.IntRange(min=1),
    help="With --shapes-of: tokens of the prompt.",
)
@click.option(
    "--target-ratio",
    type=click.FloatRange(min=0, min_open=True),
    help="Share of each device's uncompressed plan; the study's own, or 0.5.",
)
@click.option(
    "--objective",
    type=click.Choice(["latency", "energy"]),
    default="latency",
    show_default=True,
    help="What the target is a share of; energy is a device's power times time, so it orders one "
    "device's plans as time does, and devices otherwise.",
)
@click.option("--csv", "csv_path", type=click.Path(path_type=Path), help="Every plan and device.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw it: PNG, SVG or PDF.")
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
    unit = found.unit
    columns = ["device", "provenance", "uncompressed", f"target {unit}", "runs", "best", "loss"]
    print_table(
        f"{found.title}, target {percent(found.ratio)} of each device's uncompressed plan",
        [*columns, unit, *(["J"] if also_joules(found) else []), "10th-90th ms", "meets"],
        [
            *(device_row(found, column) for column in found.columns),
            *(unpriced_row(found, device) for device in found.unpriced),
        ],
    )
    names = [column.name for column in found.columns]
    rows = [[found.candidates[place].name, *cells(found, place)] for place in found.chosen()]
    if rows:
        print_table(
            f"every best plan on every device: {unit}, over its own best", ["", *names], rows
        )
    for line in remarks(found):
        click.echo(line)
    leave(found)


def leave(found: DeviceComparison) -> None:
    """Exit code 1 where no device runs any plan: the answer is no."""
    if not found.chosen():
        sys.exit(1)


def compared(study: str | None, model: str | None, flags: dict[str, Any]) -> DeviceComparison:
    """The comparison that the flags ask for."""
    from hwsearch.errors import InputError
    from hwsearch.jobs.comparison import compare_study, compare_uniform

    names = [name.strip() for name in flags["devices"].split(",") if name.strip()]
    shared = {"ratio": flags["target_ratio"], "objective": flags["objective"]}
    if (study is None) == (model is None):
        raise InputError("give exactly one of STUDY and --shapes-of MODEL")
    if study is not None:
        return compare_study(study, names, storage=flags["storage"], **shared)
    assert model is not None
    return compare_uniform(model, names, prompt_length=flags["prompt_length"], **shared)


def device_row(found: DeviceComparison, column: Column) -> tuple[object, ...]:
    """A device with its best plan, as a row."""
    info = column.predictor.device.info
    known = (
        column.name,
        info.provenance.value,
        short(column.uncompressed),
        short(column.target),
        f"{column.runnable} of {len(column.cells)}",
    )
    also = also_joules(found)
    if column.best is None:
        return (*known, "none runs here", "", *[""] * also, "", "", "no")
    candidate, cell = found.candidates[column.best], column.cells[column.best]
    assert cell.latency is not None
    ends, spent = cell.latency.intervals_ms, cell.latency.generation_joules
    return (
        *known,
        candidate.name,
        "" if candidate.loss is None else f"{candidate.loss:.5f}",
        short(cell.cost),
        *(["unknown" if spent is None else short(spent)] * also),
        "" if ends is None else "-".join(map(short, ends.generation)),
        "yes" if cell.meets else "no",
    )


def unpriced_row(found: DeviceComparison, device: Unpriced) -> tuple[object, ...]:
    """A device that cannot price plans, as a row that says why."""
    blank = [""] * also_joules(found)
    return (
        device.name,
        "",
        "",
        "",
        "",
        f"cannot price: {device.why_not}",
        "",
        "",
        *blank,
        "",
        "no",
    )


def also_joules(found: DeviceComparison) -> bool:
    """Whether joules stand beside milliseconds: some device's power is known."""
    known = any(column.predictor.device.info.power is not None for column in found.columns)
    return known and found.unit != "J"


def short(cost: float) -> str:
    """Four digits, and thousands set apart.

    >>> short(140712.3), short(49.5812)
    ('140,712', '49.58')
    """
    return f"{cost:,.0f}" if cost >= 1000 else f"{cost:.4g}"


def cells(found: DeviceComparison, place: int) -> list[str]:
    """A plan on every device, as text."""
    row = []
    for column in found.columns:
        more, cell = column.penalty(place), column.cells[place]
        if more is None:
            row.append(cell.why_not)
        else:
            text = f"{short(cell.cost)} ({100 * more:+.0f} %)"
            row.append(text if cell.meets else f"{text}, misses")
    return row


def remarks(found: DeviceComparison) -> list[str]:
    """What a reader must know to believe it."""
    lines = [f"{column.name}: {column.note}" for column in found.columns if column.note]
    for column in found.columns:
        if column.best is None:  # no row of the cross table says it
            reasons = dict.fromkeys(cell.why_not for cell in column.cells)
            lines.append(f"{column.name} runs none of the plans: {'; '.join(reasons)}")
    raw = [c.name for c in found.columns if c.predictor.calibration is None]
    if raw:
        lines.append(f"uncalibrated, plain sums of operators: {', '.join(raw)}")
    if {column.predictor.device.info.provenance for column in found.columns} > {"measured"}:
        lines.append(
            "milliseconds of different provenance compare loosely; shares of a device's own "
            "uncompressed plan compare better"
        )
    if all(candidate.loss is None for candidate in found.candidates):
        lines.append("no loss is known: best is the least compressed plan that meets the target")
    return lines


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
                "provenance": column.predictor.device.info.provenance.value,
                "calibrated": column.predictor.calibration is not None,
                "note": column.note,
                "uncompressed": column.uncompressed,
                "target": column.target,
                "runs": column.runnable,
                "best": None if column.best is None else found.candidates[column.best].name,
                "best_plan": None
                if column.best is None
                else found.candidates[column.best].plan.model_dump(mode="json"),
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
