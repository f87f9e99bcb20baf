"""What `hwsearch compare` prints: each device's best plan, and what all of these cost everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.bar import Bar
from rich.console import Group

from hwsearch.cli.printing import output_width, percent, print_table

if TYPE_CHECKING:
    from hwsearch.jobs.comparing.devices import DeviceComparison
    from hwsearch.latency.prediction.comparison import Column, ComparedPlan

#: Characters of a bar that stands for a device's uncompressed plan, and of a cell of the cross table.
BAR, CELL = 15, 20


def print_best(found: DeviceComparison) -> None:
    """A row a device, the fastest first; those that run nothing come last, with the reason."""
    print_table(
        f"{found.title}: each device's best plan within {percent(found.ratio)} of its uncompressed plan",
        ["device", "best plan and its loss", found.unit, "of uncompressed"],
        [
            *(device_row(found, column) for column in sorted(found.columns, key=_best_cost)),
            *(
                (device.name, f"cannot price: {device.why_not}", "", "")
                for device in found.unpriced
            ),
        ],
    )


def _best_cost(column: Column) -> float:
    return float("inf") if column.best is None else column.cells[column.best].cost


def device_row(found: DeviceComparison, column: Column) -> tuple[object, ...]:
    """A device with its best plan."""
    info = column.predictor.device.info
    named = f"{column.name}\n{info.runtime}\n{info.provenance.value}"
    whole = f"whole {short(column.uncompressed)}"
    if column.best is None:
        return (named, "none runs here", whole, "")
    candidate, cell = found.candidates[column.best], column.cells[column.best]
    assert cell.latency is not None
    ends, spent = cell.latency.intervals_ms, cell.latency.generation_joules
    costs = [short(cell.cost), whole]
    if ends is not None and found.unit == "ms":
        costs.insert(1, " to ".join(map(short, ends.generation)))
    if spent is not None and found.unit == "ms":
        costs.append(f"{short(spent)} J")
    share = Group(
        f"{percent(cell.ratio)}{'' if cell.meets else ', misses'}",
        Bar(1.0, 0.0, min(cell.ratio, 1.0), width=BAR),
    )
    name = "its own" if candidate.name == f"for {column.name}" else candidate.name
    return (named, "\n".join([name, *loss_lines(candidate)]), "\n".join(costs), share)


def loss_lines(candidate: ComparedPlan) -> list[str]:
    """A plan's loss, and whether it was tried."""
    if candidate.loss is None:
        return []
    if candidate.loss_is == "evaluated":
        return [f"{candidate.loss:z.5f}"]
    return [f"{candidate.loss:z.5f} ± {candidate.spread:.5f}", "predicted"]


def print_cross(found: DeviceComparison) -> None:
    """Every device's best plan on every device; as many devices in a table as there is room for."""
    chosen = found.chosen()
    if not chosen:
        return
    names = [found.candidates[place].name for place in chosen]
    beside = max(1, (output_width() - max(map(len, names)) - 4) // (CELL + 3))
    numbered = enumerate(found.columns)
    for _, part in groupby(numbered, key=lambda pair: pair[0] // beside):
        columns = [column for _, column in part]
        print_table(
            f"every best plan on every device: {found.unit}, over its own best",
            ["", *(f"{c.name}\n{c.predictor.device.info.runtime}" for c in columns)],
            [[found.candidates[place].name, *cells(columns, place)] for place in chosen],
        )


def cells(columns: Sequence[Column], place: int) -> list[str]:
    """A plan on devices, as text."""
    row = []
    for column in columns:
        more, cell = column.penalty(place), column.cells[place]
        if more is None:
            row.append(cell.why_not)
        else:
            text = f"{short(cell.cost)} ({100 * more:+z.0f} %)"
            row.append(text if cell.meets else f"{text}, misses")
    return row


def short(cost: float) -> str:
    """Four digits, and thousands set apart.

    >>> short(140712.3), short(49.5812)
    ('140,712', '49.58')
    """
    return f"{cost:,.0f}" if cost >= 1000 else f"{cost:.4g}"


def remarks(found: DeviceComparison) -> list[str]:
    """What a reader must know to believe it."""
    lines = [f"{column.name}: {column.note}" for column in found.columns if column.note]
    tried = len(found.tried())
    for column in found.columns:
        if column.best is None:  # no row of the cross table says it
            reasons = dict.fromkeys(cell.why_not for cell in column.cells)
            lines.append(f"{column.name} runs none of the plans: {'; '.join(reasons)}")
        elif found.runs(column) < tried:
            lines.append(f"{column.name} runs {found.runs(column)} of {tried} plans")
    if any(found.candidates[place].loss_is == "predicted" for place in found.chosen()):
        lines.append("predicted: no trial tried the plan; --evaluate 3 tries up to three a device")
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
