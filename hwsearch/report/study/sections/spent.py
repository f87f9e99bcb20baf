"""Where a generation's time goes: by layer, by operator, by kind of pass."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from hwsearch.report.study.charts import chart, layer, names, quantity, series
from hwsearch.report.study.facts import Chosen, Facts
from hwsearch.report.study.pricing import PARTS, Spent
from hwsearch.report.study.section import Figure, Section, Table
from hwsearch.report.study.words import ms, number, percent

TITLE = "Where the time goes"

#: What passes are called that are no refreshes.
KINDS = ("refreshes", "other passes")


def spent(facts: Facts) -> Section:
    """Predicted milliseconds of the chosen plan, taken apart."""
    chosen = facts.chosen
    parts = facts.spent(chosen)
    total = sum(one.ms for one in parts)
    largest = max(_by_part(parts).items(), key=lambda item: item[1])
    passes = {kind.value: count for kind, count in facts.passes_of(chosen).by_kind.items() if count}
    made = ", ".join(f"{number(count)} {kind} passes" for kind, count in passes.items())
    words = (
        f"Of the {ms(total)} predicted for the chosen plan, {ms(largest[1])} "
        f"({percent(largest[1] / total)}) go "
        f"into: {PARTS[largest[0]]}. A generation makes {made}, in the mean.",
    )
    figures = (_before_after(facts, chosen, parts), _layers(parts))
    return Section("spent", TITLE, words, figures=figures)


def _by_part(parts: Sequence[Spent]) -> Mapping[str, float]:
    found: dict[str, float] = defaultdict(float)
    for one in parts:
        found[one.part] += one.ms
    return found


def _before_after(facts: Facts, chosen: Chosen, parts: Sequence[Spent]) -> Figure:
    """Operators and kinds of pass, of the chosen plan beside those it is held against."""
    plans = [("chosen", parts)]
    for name, other in (("best uniform", facts.best_uniform), ("uncompressed", facts.baseline)):
        if other is not None and other.plan != chosen.plan:
            plans.insert(0, (name, facts.spent(other)))
    rows = [row for name, some in plans for row in _bars(name, some)]
    order = [name for name, _ in plans]
    bars = layer(
        rows, "bar", hint=True,
        x=quantity("ms", "milliseconds of a generation", zero=True, nice=True),
        y=names("plan", order),
        color=series("label", [PARTS[part] for part in PARTS if any(r["part"] == part for r in rows)],
                     "operator", columns=3),
        order={"field": "place"},
        opacity={"field": "kind", "type": "nominal", "title": "pass", "sort": list(KINDS),
                 "scale": {"domain": list(KINDS), "range": [1.0, 0.55]},
                 "legend": {"orient": "bottom", "direction": "vertical"}},
        look={"height": {"band": 0.7}},
    )  # fmt: skip
    cells = tuple((r["plan"], r["label"], r["kind"], number(r["ms"])) for r in rows)
    return Figure(
        "operators",
        "Milliseconds by operator and kind of pass",
        f"Stacked bars of {len(plans)} plans: predicted milliseconds of a generation by operator, "
        "refreshes in "
        "full colour and other passes paler. " + "; ".join(
            f"{name} {ms(sum(one.ms for one in some))}" for name, some in plans) + ".",
        chart(bars, height=46 * len(plans)),
        Table(("plan", "operator", "passes", "ms"), cells, "Predicted milliseconds of a generation"),
        "Full colour: refreshes, which run all positions. Paler: all other passes. What is beside "
        "the operators "
        "cannot be told apart by kind; below zero it says that operators run faster in a model than alone.",
    )  # fmt: skip


def _bars(name: str, parts: Sequence[Spent]) -> list[dict[str, Any]]:
    found: dict[tuple[str, str], float] = defaultdict(float)
    for one in parts:
        for kind, value in zip(KINDS, (one.refresh_ms, one.step_ms), strict=True):
            found[one.part, kind] += value
    order = list(PARTS)
    return [
        {
            "plan": name, "part": part, "label": PARTS[part], "kind": kind, "ms": value,
            "place": 2 * order.index(part) + KINDS.index(kind),
            "hint": f"{name}: {PARTS[part]}, {kind}: {ms(value)}",
        }
        for (part, kind), value in found.items()
        if abs(value) > 1e-9
    ]  # fmt: skip


def _layers(parts: Sequence[Spent]) -> Figure:
    """The chosen plan layer by layer."""
    rows: list[dict[str, Any]] = []
    for one in parts:
        name = PARTS[one.part] if one.layer is None else f"layer {one.layer}"
        hint = f"{name}: {PARTS[one.part]} {ms(one.ms)}; refreshes {ms(one.refresh_ms)}"
        rows.append(
            {"layer": name, "label": PARTS[one.part], "part": one.part, "ms": one.ms, "hint": hint,
             "place": list(PARTS).index(one.part), "refresh": one.refresh_ms, "step": one.step_ms}
        )  # fmt: skip
    order = list(dict.fromkeys(row["layer"] for row in rows))
    labels = [PARTS[part] for part in PARTS if any(row["part"] == part for row in rows)]
    bars = layer(
        rows, "bar", hint=True,
        x=quantity("ms", "milliseconds of a generation", zero=True, nice=True),
        y=names("layer", order),
        color=series("label", labels, "operator", columns=3),
        order={"field": "place"},
    )  # fmt: skip
    cells = tuple(
        (r["layer"], r["label"], number(r["refresh"]), number(r["step"]), number(r["ms"]))
        for r in rows
    )
    return Figure(
        "layers",
        "Milliseconds of the chosen plan by layer",
        f"Stacked bars, one for each of {len(order)} layers and for what belongs to none: predicted "
        "milliseconds of a generation by operator.",
        chart(bars, height=max(90, 24 * len(order))),
        Table(
            ("layer", "operator", "refreshes, ms", "other passes, ms", "ms"),
            cells,
            "Predicted milliseconds of a generation of the chosen plan",
        ),
    )
