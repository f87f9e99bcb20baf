"""What the chosen plan would take on every other device that is known here, and the best plan tried there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from hwsearch.errors import HwsearchError
from hwsearch.latency.devices.device import Device, load_device
from hwsearch.latency.devices.places import device_folders
from hwsearch.latency.prediction.comparison import Cell, Column, ComparedPlan, compare_on
from hwsearch.report.study.charts import (
    INK,
    SERIES,
    SHAPES,
    chart,
    layer,
    log_axis,
    names,
    spread_ticks,
)
from hwsearch.report.study.facts import Facts
from hwsearch.report.study.section import Figure, MissingFactsError, Section, Table
from hwsearch.report.study.words import ms, ms_span, nats, number

TITLE = "Other devices"

#: Where a device's milliseconds come from, most trusted first.
KINDS = ("measured", "published", "modelled")


def devices(facts: Facts) -> Section:
    """Predicted milliseconds of the chosen plan, device by device."""
    plans = candidates(facts)
    columns, without = compared(facts, plans)
    if not columns:
        raise MissingFactsError(
            "None of the devices that are known here can price the plan; `hwsearch profile --device NAME` "
            "adds one."
        )
    reasons: dict[str, list[str]] = {}
    for name, why in [*((c.name, c.cells[0].why_not) for c in columns), *without]:
        if why:
            reasons.setdefault(why, []).append(name)
    words = (
        "Filled: the chosen plan with the same passes, predicted by each device's own figures. "
        "Hollow: the best "
        "plan tried so far that runs there within the same share of the uncompressed time, where "
        "that is another "
        f"one. `hwsearch compare {facts.argument} --devices A,B` finds plans that were not tried.",
        *(
            f"Cannot run the chosen plan: {', '.join(cannot)} ({why})."
            for why, cannot in reasons.items()
        ),
    )
    rows = [row for column in columns for row in _rows(column, plans)]
    figures = (_figure(rows, columns[0].name),) if rows else ()
    return Section("devices", TITLE, words, figures=figures)


def candidates(facts: Facts) -> list[ComparedPlan]:
    """The chosen plan, then the trials of the front and all uniform ones."""
    chosen, passes = facts.chosen, facts.passes
    found = [ComparedPlan("chosen", chosen.plan, 0.0, passes=facts.passes_of(chosen))]
    front = set(facts.front["number"])
    for row in facts.frame.to_dict(orient="records"):
        number = row["number"]
        if number != chosen.number and (row["uniform"] or number in front):
            loss = float(row["loss"])
            found.append(ComparedPlan(f"trial {number}", row["plan"], loss, loss, passes[number]))
    own = facts.row(chosen.plan)
    if own is not None:
        loss = float(own["loss"])
        found[0] = ComparedPlan("chosen", chosen.plan, loss, loss, found[0].passes)
    return found


def compared(
    facts: Facts, plans: Sequence[ComparedPlan]
) -> tuple[list[Column], list[tuple[str, str]]]:
    """A column a device, the study's own first, and devices that can price nothing, with the reason."""
    pricing, ratio = facts.pricing, 1.0
    found: list[Column] = []
    without: list[tuple[str, str]] = []
    for name, device in _known(facts):
        if isinstance(device, str):
            without.append((name, device))
            continue
        try:
            predictor = pricing.on(device)
            if not found:
                whole = pricing.keep(device.uncompressed(pricing.geometry.num_layers))
                ratio = facts.study.target_ms / predictor.predict(whole).generation_ms
            found.append(compare_on(predictor, plans, pricing.keep, ratio))
        except HwsearchError as error:
            without.append((name, str(error)))
    return found, without


def _known(facts: Facts) -> Iterator[tuple[str, Device | str]]:
    """The study's device, then all others by name; of one that cannot be read the reason."""
    own = facts.device
    yield own.info.name, own
    for name, folder in device_folders().items():
        if folder.resolve() == own.folder.resolve():
            continue
        try:
            yield name, load_device(folder)
        except HwsearchError as error:
            yield name, str(error)


def _rows(column: Column, plans: Sequence[ComparedPlan]) -> Iterator[dict[str, Any]]:
    """The chosen plan on a device, and the best one there where that is another."""
    if column.cells[0].latency is not None:
        yield _row(column, column.cells[0], plans[0], "chosen plan")
    best = column.best
    if best and column.cells[best].meets:
        yield _row(column, column.cells[best], plans[best], "best tried there")


def _row(column: Column, cell: Cell, plan: ComparedPlan, what: str) -> dict[str, Any]:
    info, latency = column.predictor.device.info, cell.latency
    assert latency is not None, "only what runs has a row"
    ends = None if latency.intervals_ms is None else latency.intervals_ms.generation
    note = f"; {column.note}" if column.note else ""
    loss = "" if plan.loss is None else f", loss {nats(plan.loss)} nats"
    name = what if plan.name == "chosen" else f"{what}, {plan.name}"
    return {
        "device": column.name,
        "what": name,
        "filled": what == "chosen plan",
        "ms": latency.generation_ms,
        "low": None if ends is None else ends[0],
        "high": None if ends is None else ends[1],
        "kind": info.provenance.value,
        "runtime": info.runtime,
        "uncompressed": column.uncompressed,
        "ratio": cell.ratio,
        "loss": plan.loss,
        "note": column.note,
        "hint": f"{column.name} ({info.provenance.value}, {info.runtime}), {name}: "
        f"{ms(latency.generation_ms)}, {cell.ratio:.2f} of the uncompressed model's "
        f"{ms(column.uncompressed)} there{loss}{note}",
    }


def _figure(rows: Sequence[dict[str, Any]], own: str) -> Figure:
    ordered = sorted(rows, key=lambda row: (KINDS.index(row["kind"]), row["ms"]))
    order = list(dict.fromkeys(row["device"] for row in ordered))
    ends = [row[key] for row in rows for key in ("ms", "low", "high", "uncompressed") if row[key]]
    x = log_axis("ms", "predicted milliseconds of a generation", ends, spread_ticks(ends))
    y = names("device", order)
    look: Mapping[str, Any] = {"size": 80, "opacity": 1, "strokeWidth": 1.8}
    colour, shape = _by_kind([kind for kind in KINDS if any(row["kind"] == kind for row in rows)])
    bars = [row for row in ordered if row["low"]]
    points = (
        layer(
            [row for row in ordered if row["filled"] == filled],
            "point", hint=True, x=x, y=y, color=colour, shape=shape, look={**look, "filled": filled},
        )
        for filled in (False, True)
    )  # fmt: skip
    thin = {"color": INK, "strokeWidth": 1.2, "opacity": 0.7}
    spec = chart(
        layer(ordered, "tick", x={**x, "field": "uncompressed"}, y=y,
              look={"color": INK, "thickness": 2, "size": 14}),
        layer(bars, "rule", x={**x, "field": "low"}, x2={"field": "high"}, y=y, look=thin),
        *points,
        height=22 * len(order),
    )  # fmt: skip
    return Figure(
        "devices",
        "The chosen plan on other devices",
        f"Dot plot of {len(order)} devices, logarithmic: predicted milliseconds of the chosen "
        "plan, of the best "
        "plan tried there and, as an upright stroke, of the uncompressed model. The study's own "
        f"device is {own}.",
        spec,
        _table(ordered),
        "Upright strokes: the uncompressed model there. Bars: 10th to 90th percentile, where it "
        "is known. The "
        f"study's own device is {own}.",
    )


def _by_kind(kinds: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Colour and shape by where a device's milliseconds come from."""
    colour, shape = (
        {
            "field": "kind",
            "type": "nominal",
            "title": "the device was",
            "sort": list(kinds),
            "legend": {"orient": "bottom"},
            "scale": {
                "domain": list(kinds),
                "range": [values[KINDS.index(kind)] for kind in kinds],
            },
        }
        for values in (SERIES, SHAPES)
    )
    return colour, shape


def _table(rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        "device", "was", "runtime", "plan", "ms", "10th to 90th", "uncompressed ms", "share of it", "loss",
        "note",
    )  # fmt: skip
    cells = tuple(
        (
            row["device"],
            row["kind"],
            row["runtime"],
            row["what"],
            number(row["ms"]),
            ms_span(None if row["low"] is None else (row["low"], row["high"])),
            number(row["uncompressed"]),
            f"{row['ratio']:.2f}",
            "" if row["loss"] is None else nats(row["loss"]),
            row["note"],
        )
        for row in rows
    )
    return Table(columns, cells, "Plans by device")
