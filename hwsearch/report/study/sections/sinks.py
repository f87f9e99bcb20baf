"""Where the model's attention sinks are, layer by position, and what a threshold keeps of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from hwsearch.plan import CacheRule
from hwsearch.report.study.charts import (
    APART,
    BELOW,
    CHOSEN,
    WIDTH,
    chart,
    heat,
    ink_on,
    layer,
    names,
)
from hwsearch.report.study.facts import Facts
from hwsearch.report.study.section import Figure, MissingFactsError, Section, Table
from hwsearch.report.study.words import percent
from hwsearch.sinks import SinkProfile

TITLE = "Attention sinks"

#: Columns of the map by position, at most: wider ones are means over neighbours.
COLUMNS = 96

#: Thresholds that are shown where a study offers none below 1.
USUAL = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)


def sinks(facts: Facts) -> Section:
    """The map by position, and the map by threshold."""
    record = facts.record
    profile = record.sink_profile
    if profile is None:
        raise MissingFactsError(
            f"The study was searched by an older hwsearch and keeps no sinks; `{facts.search_again()}` adds "
            "them."
        )
    if profile.passes < 2 and not profile.static:
        raise MissingFactsError(
            "No plan of the study may drop a cached position, so sinks were not calibrated; `hwsearch sinks "
            f"{record.model} -o sinks` shows them by themselves."
        )
    words = (
        f"A position is a sink of a pass if it is among the {100 * profile.top_share:g} % that "
        "receive the most "
        f"attention. Counted over {profile.passes} passes of the uncompressed model's answers to calibration "
        "questions. A layer with a threshold keeps the positions that are sinks most steadily.",
    )
    figures = [_thresholds(facts, profile)]
    if CacheRule.KEEP_STABLE in profile.static:
        figures.insert(0, _positions(profile))
    return Section("sinks", TITLE, words, figures=tuple(figures))


def _positions(profile: SinkProfile) -> Figure:
    rows, width = places(profile)
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    most = max(row["share"] for row in rows)
    x = {
        "field": "from", "type": "quantitative", "title": "positions before the end of the sequence",
        "scale": {"reverse": True, "nice": False, "zero": False}, "axis": {"grid": False, "format": "d"},
    }  # fmt: skip
    cells = layer(
        rows, "rect", hint=True, x=x, x2={"field": "to"}, y=names("layer", layers),
        color=heat("share", "share of passes as a sink", 0.0, most, format=".0%", **BELOW),
    )  # fmt: skip
    heaviest = max(rows, key=lambda row: row["share"])
    body = tuple((r["layer"], r["where"], percent(r["share"])) for r in rows)
    return Figure(
        "sinks",
        "How often each position is a sink, by layer",
        f"Heat map of {len(layers)} layers by position, counted from the end of the sequence, where what is "
        f"written stands. The steadiest: {heaviest['layer']}, {heaviest['where']}, a sink in "
        f"{percent(heaviest['share'])} of passes.",
        chart(cells, height=26 * len(layers)),
        Table(("layer", "positions before the end", "share of passes as a sink"), body, "Sinks"),
        "Right: the end of the sequence, where text is written; left: the prompt. Mean over questions"
        + ("." if width == 1 else f", and over {width} positions that stand together."),
    )


def places(profile: SinkProfile) -> tuple[list[dict[str, Any]], int]:
    """One row a layer and position (or several that stand together), and how many those are."""
    scores = profile.static[CacheRule.KEEP_STABLE].from_end
    length = max(map(len, scores))
    width = -(-length // COLUMNS)
    found = []
    for index, row in enumerate(scores):
        # the score counts passes, and a share of the mass below 1 on top orders equals
        share = np.minimum(np.floor(np.asarray(row)) / profile.passes, 1.0)
        for begin in range(0, len(row), width):
            some = share[begin : begin + width]
            where = f"{begin}" if len(some) == 1 else f"{begin} to {begin + len(some) - 1}"
            mean = float(some.mean())
            found.append(
                {"layer": f"layer {index}", "from": begin, "to": begin + len(some), "share": mean,
                 "where": where,
                 "hint": f"layer {index}, {where} before the end: a sink in {percent(mean)} of passes"}
            )  # fmt: skip
    return found, width


def _thresholds(facts: Facts, profile: SinkProfile) -> Figure:
    """Share that each threshold would keep; the chosen ones framed."""
    plan, offered = facts.chosen.plan, sorted(facts.study.space.thresholds)
    rule = plan.cache.rule
    used = {one.sink_threshold for one in plan.layers}
    steps = sorted({*(offered if len(offered) > 1 else USUAL), *used})
    rows = []
    for index, one in enumerate(plan.layers):
        for threshold in steps:
            share = profile.kept_share(index, threshold, rule)
            chosen = threshold == one.sink_threshold
            said = f"layer {index}, threshold {threshold:g}: keeps {percent(share)} of cached positions"
            rows.append(
                {"layer": f"layer {index}", "threshold": f"{threshold:g}", "share": share,
                 "text": f"{100 * share:.0f} %", "ink": ink_on(share), "chosen": chosen,
                 "hint": said + (", the plan's choice" if chosen else "")}
            )  # fmt: skip
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    order = [f"{threshold:g}" for threshold in steps]
    x = names("threshold", order, "sink threshold", orient="top")
    y = names("layer", layers)
    spec = chart(
        layer(rows, "rect", hint=True, x=x, y=y,
              color=heat("share", "share of cached positions kept", format=".0%", **BELOW)),
        layer([row for row in rows if row["chosen"]], "rect", x=x, y=y,
              look={"filled": False, "stroke": CHOSEN, "strokeWidth": 3}),
        layer(rows, "text", x=x, y=y, text={"field": "text"},
              color={"field": "ink", "type": "nominal", "scale": None}),
        width=min(WIDTH, 130 + 90 * len(order)),
        height=26 * len(layers),
        resolve=APART,
    )  # fmt: skip
    by = {(row["layer"], row["threshold"]): row["text"] for row in rows}
    body = tuple((name, *(by[name, step] for step in order)) for name in layers)
    return Figure(
        "thresholds",
        "What each threshold keeps, by layer",
        f"Heat map of {len(layers)} layers by {len(order)} sink thresholds: the share of cached "
        "positions that "
        f"the rule {rule.value} keeps.",
        spec,
        Table(("layer", *order), body, "Share of cached positions that a threshold keeps"),
        f"Framed: what the chosen plan takes. Rule: {rule.value}.",
    )
