"""How the search went: the best plan so far after each trial, against the best uniform plan."""

from __future__ import annotations

from typing import Any

from hwsearch.report.study.charts import (
    GREY,
    INK,
    SERIES,
    chart,
    layer,
    log_axis,
    spread_ticks,
    whole_numbers,
)
from hwsearch.report.study.facts import Facts
from hwsearch.report.study.section import Figure, MissingFactsError, Section, Table
from hwsearch.report.study.sections.front import floor_of
from hwsearch.report.study.words import nats

TITLE = "How the search went"


def progress(facts: Facts) -> Section:
    """Loss by trial, and the least so far."""
    rows = trials(facts)
    within = [row for row in rows if row["feasible"]]
    if not within:
        raise MissingFactsError(
            f"No finished trial meets the {facts.predicted_target}; `{facts.search_again()}` with a "
            "higher target or more trials finds some."
        )
    last = min(within, key=lambda row: (row["loss"], row["number"]))
    uniform = [row for row in within if row["uniform"]]
    words = (
        f"The best plan within the {facts.predicted_target} came with trial {last['number']} of "
        f"{len(rows)}."
    )
    if uniform:
        best = min(uniform, key=lambda row: row["loss"])
        words += (
            f" The best of {len(uniform)} uniform plans within it (trial {best['number']}) loses "
            f"{nats(best['loss'])} nats, the best of all {nats(last['loss'])}."
        )
        noise = facts.study.noise
        if noise is not None and 0 < best["loss"] - last["loss"] <= noise:
            words += f" Rounding alone moves a loss by {nats(noise)}, so the two are tied."
    return Section("progress", TITLE, (words,), figures=(_figure(facts, rows),))


def trials(facts: Facts) -> list[dict[str, Any]]:
    """One row a finished trial, in order, with the least loss so far of plans within the target."""
    frame = facts.frame.sort_values("number")
    floor = floor_of(frame)
    best, found = None, []
    for row in frame.to_dict(orient="records"):
        if row["feasible"]:
            best = row["loss"] if best is None else min(best, row["loss"])
        kind = (
            "over the target"
            if not row["feasible"]
            else "uniform"
            if row["uniform"]
            else "searched"
        )
        found.append(
            {"number": row["number"], "loss": row["loss"], "shown": max(row["loss"], floor), "kind": kind,
             "uniform": row["uniform"], "feasible": bool(row["feasible"]), "best": best,
             "best_shown": None if best is None else max(best, floor),
             "hint": f"trial {row['number']}, {kind}: loss {nats(row['loss'])} nats, "
                     f"{facts.study.unit.show(row['generation_ms'])}; {facts.decoding(row['plan'])}"}
        )  # fmt: skip
    return found


def _figure(facts: Facts, rows: list[dict[str, Any]]) -> Figure:
    losses = [row["shown"] for row in rows]
    losses += [row["best_shown"] for row in rows if row["best_shown"]]
    x = whole_numbers("number", "trial", [row["number"] for row in rows])
    y = log_axis("shown", f"loss ({facts.record.loss_name}, nats)", losses, spread_ticks(losses))
    kinds = ("searched", "uniform", "over the target")
    colour, shape = (
        {"field": "kind", "type": "nominal", "title": None, "sort": list(kinds),
         "legend": {"orient": "bottom"}, "scale": {"domain": list(kinds), "range": list(values)}}
        for values in ((SERIES[0], SERIES[1], GREY), ("circle", "square", "cross"))
    )  # fmt: skip
    so_far = [row for row in rows if row["best"] is not None]
    spec = chart(
        layer(so_far, "line", x=x, y={**y, "field": "best_shown"},
              look={"interpolate": "step-after", "color": INK, "strokeWidth": 1.6}),
        layer(rows, "point", hint=True, x=x, y=y, color=colour, shape=shape,
              look={"filled": True, "size": 60, "opacity": 1}),
        height=280,
    )  # fmt: skip
    cells = tuple(
        (str(r["number"]), r["kind"], nats(r["loss"]), "" if r["best"] is None else nats(r["best"]))
        for r in rows
    )
    return Figure(
        "progress",
        "Loss of each trial, and the least so far within the target",
        f"Scatter plot of {len(rows)} trials in their order, loss upwards on a logarithmic axis, "
        "and a falling "
        "line: the least loss so far among plans within the target.",
        spec,
        Table(("trial", "kind", "loss (nats)", "least so far"), cells, "Trials in their order"),
        "Line: the least loss so far within the target.",
    )
