"""Every plan by its time and its loss, and the front among them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from hwsearch.report.study.charts import (
    CHOSEN,
    GREY,
    INK,
    SERIES,
    SHAPES,
    TARGET,
    chart,
    layer,
    log_axis,
    spread_ticks,
)
from hwsearch.report.study.facts import Chosen, Facts
from hwsearch.report.study.section import Figure, MissingFactsError, Section, Spec, Table
from hwsearch.report.study.words import megabytes, nats, plan_lines

TITLE = "The front"

#: Plans without any loss stand at the foot of the picture, so much below the least loss that is one.
FLOOR, LOWEST = 3.0, 1e-15


def front(facts: Facts) -> Section:
    """The picture and the table of the front."""
    if facts.frame.empty:
        raise MissingFactsError(f"No trial is finished; `{facts.search_again()}` runs some.")
    if facts.front.empty:
        raise MissingFactsError(
            f"No trial has a finite loss; `{facts.search_again()}` tries more plans."
        )
    rows = trial_points(facts)
    count = sum(row["front"] for row in rows)
    best = "one" if count == 1 else str(count)
    words = (
        f"Each point is a plan: {len(rows)} were tried, and no other plan beats the {best} on the line "
        "in both time and loss. Shape and colour say how text is decoded; a hollow point treats all layers "
        f"alike; grey ones are over the {facts.predicted_target}.",
    )
    return Section("front", TITLE, words, figures=(_figure(facts, rows),))


def trial_points(facts: Facts) -> list[dict[str, Any]]:
    """One row a finished trial."""
    unit, floor = facts.study.unit, floor_of(facts.frame)
    on_front = set(facts.front["number"])
    found: list[dict[str, Any]] = []
    for row in facts.frame.to_dict(orient="records"):
        low, high = _ends(facts, row) if row["number"] in on_front else (None, None)
        found.append(
            {
                "number": row["number"],
                "cost": unit.of(row["generation_ms"]),
                "low": None if low is None else unit.of(low),
                "high": None if high is None else unit.of(high),
                "loss": row["loss"],
                "shown": max(row["loss"], floor),
                "decoding": facts.decoding(row["plan"]),
                "kind": "all layers alike" if row["uniform"] else "searched",
                "feasible": bool(row["feasible"]),
                "front": row["number"] in on_front,
                "size": row["size_bytes"],
                "passes": row["passes"],
                "hint": hint(facts, row),
            }
        )
    return sorted(found, key=lambda one: one["cost"])


def _ends(facts: Facts, row: Mapping[Any, Any]) -> tuple[float | None, float | None]:
    """10th and 90th percentile of a plan's time; none where they are unknown."""
    try:
        latency = facts.latency(Chosen(row["plan"], row["number"], "", None))
    except MissingFactsError:
        return None, None
    return (None, None) if latency.intervals_ms is None else latency.intervals_ms.generation


def floor_of(frame: pd.DataFrame) -> float:
    """Where plans without any loss stand; no axis goes down to the smallest numbers that there are."""
    above = frame.loc[frame["loss"] > 0, "loss"]
    return 1e-6 if above.empty else max(float(above.min()) / FLOOR, LOWEST)


def hint(facts: Facts, row: Mapping[Any, Any]) -> str:
    """What a point says when it is pointed at."""
    unit = facts.study.unit
    lines = [
        f"trial {row['number']}: loss {nats(row['loss'])} nats, {unit.show(row['generation_ms'])}, "
        f"{megabytes(row['size_bytes'])}",
        f"decoding: {facts.decoding(row['plan'])}, {row['passes']:.1f} passes",
        *plan_lines(row["plan"]),
        *([] if row["feasible"] else ["over a limit of the study"]),
    ]
    return "\n".join(lines)


def _figure(facts: Facts, rows: list[dict[str, Any]]) -> Figure:
    unit, record = facts.study.unit, facts.record
    quantity_name = "time" if unit.symbol == "ms" else "energy"
    best = [row for row in rows if row["front"]]
    alt = (
        f"Scatter plot of {len(rows)} plans of {record.model} on {record.device}: predicted {quantity_name} "
        f"across, loss upwards, both logarithmic. The front has {len(best)} plans, from "
        f"{unit.show(unit.to_ms(best[0]['cost']))} at a loss of {nats(best[0]['loss'])} to "
        f"{unit.show(unit.to_ms(best[-1]['cost']))} at {nats(best[-1]['loss'])}. A line marks "
        f"the {facts.predicted_target}."
    )
    return Figure(
        "front",
        f"Loss against predicted {quantity_name} of every plan tried",
        alt,
        _spec(facts, rows),
        _table(facts, rows),
        "Bars: 10th to 90th percentile of the prediction of plans on the front, where it is known. Plans "
        "without any loss stand at the foot, since the axis is logarithmic.",
    )


def _spec(facts: Facts, rows: list[dict[str, Any]]) -> Spec:
    unit, study = facts.study.unit, facts.study
    name = f"predicted generation {'time' if unit.symbol == 'ms' else 'energy'} ({unit.symbol})"
    ends = [row[end] for row in rows for end in ("low", "high") if row[end] is not None]
    costs = [*(row["cost"] for row in rows), *ends, unit.of(study.target_ms)]
    x = log_axis("cost", name, costs, spread_ticks(costs))
    losses = [row["shown"] for row in rows]
    y = log_axis("shown", f"loss ({facts.record.loss_name}, nats)", losses, spread_ticks(losses))
    decodings = list(dict.fromkeys(row["decoding"] for row in rows))
    colours = _by_decoding("decoding", decodings, SERIES)
    shapes = _by_decoding("decoding", decodings, SHAPES)
    best = [row for row in rows if row["front"]]
    line = layer(
        best, "line", x=x, y=y, look={"interpolate": "step-after", "color": INK, "strokeWidth": 1.2}
    )
    bars = layer(
        [row for row in best if row["low"] is not None],
        "rule",
        x={**x, "field": "low"},
        x2={"field": "high"},
        y=y,
        look={"color": INK, "strokeWidth": 1.2, "opacity": 0.7},
    )
    look = {"size": 70, "strokeWidth": 1.8}
    over = layer(
        [row for row in rows if not row["feasible"]], "point", hint=True, x=x, y=y, shape=shapes,
        look={**look, "color": GREY, "filled": False, "strokeWidth": 1.2},
    )  # fmt: skip
    within = [row for row in rows if row["feasible"]]
    uniform, searched = (
        layer(
            [row for row in within if (row["kind"] == "searched") == filled],
            "point", hint=True, x=x, y=y, shape=shapes, color=colours,
            look={**look, "filled": filled, "opacity": 1},
        )
        for filled in (False, True)
    )  # fmt: skip
    target = [{"cost": unit.of(study.target_ms), "text": facts.predicted_target}]
    limit = layer(
        target, "rule", x=x, look={"color": TARGET, "strokeDash": [6, 4], "strokeWidth": 1.5}
    )
    said = layer(
        target, "text", x=x, y={"value": 4}, text={"field": "text"},
        look={"color": TARGET, "align": "left", "dx": 5, "baseline": "top"},
    )  # fmt: skip
    layers = [limit, said, line, bars, over, uniform, searched, *_marked(facts, rows, x, y)]
    return chart(*layers, height=400, resolve={"scale": {"color": "shared", "shape": "shared"}})


def _by_decoding(field: str, order: list[str], values: tuple[str, ...]) -> dict[str, Any]:
    return {
        "field": field,
        "type": "nominal",
        "title": "decoding",
        "sort": order,
        "scale": {"domain": order, "range": [values[i % len(values)] for i in range(len(order))]},
        "legend": {"orient": "bottom", "direction": "vertical", "columns": 2},
    }


def _marked(facts: Facts, rows: list[dict[str, Any]], x: Any, y: Any) -> list[dict[str, Any]]:
    """A ring and a word at the chosen plan, and a word at the uncompressed model."""
    found = []
    baseline = facts.baseline
    places = [(facts.chosen.number, "chosen", CHOSEN)]
    if baseline is not None and baseline.number != facts.chosen.number:
        places.append((baseline.number, "uncompressed", INK))
    for number, word, colour in places:
        some = [{**row, "word": word} for row in rows if row["number"] == number]
        beside = _beside(x["scale"]["domain"], some)
        found.append(
            layer(some, "point", x=x, y=y, look={
                "size": 260, "color": colour, "filled": False, "strokeWidth": 2, "shape": "circle"})
        )  # fmt: skip
        found.append(
            layer(some, "text", x=x, y=y, text={"field": "word"}, look={
                "color": colour, "fontWeight": "bold", **beside})
        )  # fmt: skip
    return found


def _table(facts: Facts, rows: list[dict[str, Any]]) -> Table:
    unit = facts.study.unit
    columns = (
        "trial", f"predicted {unit.symbol}", "10th to 90th", "loss (nats)", "decoding", "passes", "weights",
        "layers", "meets target", "on the front",
    )  # fmt: skip
    cells = tuple(
        (
            str(row["number"]),
            unit.number(unit.to_ms(row["cost"])),
            "" if row["low"] is None else f"{row['low']:.3g} to {row['high']:.3g}",
            nats(row["loss"]),
            row["decoding"],
            f"{row['passes']:.1f}",
            megabytes(row["size"]),
            row["kind"],
            "yes" if row["feasible"] else "no",
            "yes" if row["front"] else "",
        )
        for row in rows
    )
    return Table(columns, cells, "Every finished trial, fastest first")


def _beside(ends: Sequence[float], marked: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Where a point's word stands: left of it; right of points near the axis, whose numbers are there."""
    low, high = ends
    near = any(math.log(row["cost"] / low) < 0.3 * math.log(high / low) for row in marked)
    return {"dx": 12, "dy": -12, "align": "left"} if near else {"dx": -14, "align": "right"}
