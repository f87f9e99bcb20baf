"""How far the loss of the search tells accuracy: plans whose answers were checked, by both."""

from __future__ import annotations

from typing import Any

from hwsearch.report.study.charts import INK, chart, colour_and_shape, layer, quantity
from hwsearch.report.study.facts import Facts
from hwsearch.report.study.section import Figure, MissingFactsError, Section, Table
from hwsearch.report.study.words import nats, number, percent, percent_span
from hwsearch.study.finalists import verdict_of

TITLE = "Loss against accuracy"


def accuracy(facts: Facts) -> Section:
    """A point a plan that has both a loss and answers that were checked."""
    rows = answered_plans(facts)
    if not rows:
        raise MissingFactsError(
            "No plan of the study answered problems that were checked; "
            f"`{facts.export_command()}` scores the chosen one, and `{facts.search_again()} "
            "--finalists 5` the "
            "best five."
        )
    words = (
        f"The search judges plans by their {facts.record.loss_name}, which is quick, and not by answers. Of "
        f"{len(rows)} plans both are known. Where intervals overlap, the problems asked cannot "
        "tell plans apart.",
    )
    return Section("accuracy", TITLE, words, figures=(_figure(facts, rows),))


def answered_plans(facts: Facts) -> list[dict[str, Any]]:
    """Measured plans that a trial tried, and finalists."""
    found: list[dict[str, Any]] = []
    for one in facts.outcomes:
        row = facts.row(one.plan)
        if row is not None:
            asked = f"{len(one.correct)} test problems, as exported"
            found.append(_point(one.title, float(row["loss"]), one.accuracy, one.interval, asked))
    verdict = verdict_of(facts.study)
    if verdict is not None:
        for finalist in verdict.finalists:
            asked = f"{len(finalist.correct)} validation problems, in torch"
            name = f"trial {finalist.number}"
            found.append(_point(name, finalist.loss, finalist.accuracy, finalist.interval, asked))
    return found


def _point(
    name: str, loss: float, share: float, ends: tuple[float, float], asked: str
) -> dict[str, Any]:
    return {
        "name": name, "loss": loss, "accuracy": 100 * share, "low": 100 * ends[0], "high": 100 * ends[1],
        "asked": asked,
        "hint": f"{name}: loss {nats(loss)} nats, {percent(share)} of {asked} ({percent_span(*ends)})",
    }  # fmt: skip


def _figure(facts: Facts, rows: list[dict[str, Any]]) -> Figure:
    x = quantity("loss", f"loss ({facts.record.loss_name}, nats)")
    y = quantity("accuracy", "exact match (%)")
    colour, shape = colour_and_shape("asked", "asked", (row["asked"] for row in rows))
    spec = chart(
        layer(rows, "rule", x=x, y={**y, "field": "low"}, y2={"field": "high"},
              look={"color": INK, "strokeWidth": 1.3, "opacity": 0.7}),
        layer(rows, "point", hint=True, x=x, y=y, color=colour, shape=shape,
              look={"filled": True, "size": 80, "opacity": 1}),
        width=560,
        height=300,
    )  # fmt: skip
    cells = tuple(
        (row["name"], nats(row["loss"]), f"{row['accuracy']:.1f} %",
         f"{row['low']:.1f} to {row['high']:.1f} %", row["asked"])
        for row in rows
    )  # fmt: skip
    lowest, highest = (number(end(row["accuracy"] for row in rows)) for end in (min, max))
    return Figure(
        "accuracy",
        "Exact match against loss",
        f"Scatter plot of {len(rows)} plans: loss across, share of problems solved upwards with "
        "95 % intervals, "
        f"from {lowest} to {highest} %.",
        spec,
        Table(
            ("plan", "loss (nats)", "exact match", "95 % interval", "asked"),
            cells,
            "Plans with both",
        ),
        "Bars: Wilson's 95 % interval.",
    )
