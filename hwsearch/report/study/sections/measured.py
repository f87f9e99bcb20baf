"""Predicted against measured: every plan that was exported and timed, and the device's own "
"whole-model runs."""

from __future__ import annotations

from typing import Any

from hwsearch.latency.prediction.whole_models import WHOLE_FILE, read_runs
from hwsearch.report.study.charts import (
    GREY,
    INK,
    SERIES,
    chart,
    colour_and_shape,
    layer,
    log_axis,
    spread_ticks,
)
from hwsearch.report.study.facts import Facts
from hwsearch.report.study.section import Figure, MissingFactsError, Section, Table
from hwsearch.report.study.words import (
    megabytes,
    ms,
    ms_span,
    number,
    percent,
    percent_span,
    target_words,
)

TITLE = "Predicted against measured"


def measured(facts: Facts) -> Section:
    """A point a plan, and the table of all that was measured."""
    outcomes = facts.outcomes
    runs = device_runs(facts)
    if not outcomes and not runs:
        raise MissingFactsError(
            f"No plan of the study was exported and timed; `{facts.export_command()}` does so."
        )
    words = []
    if outcomes:
        off = [abs(one.predicted_ms / one.measured_ms - 1.0) for one in outcomes]
        words.append(
            f"{len(outcomes)} plans were exported, timed side by side and scored. Predictions were off by "
            f"{percent(sum(off) / len(off))} in the mean and {percent(max(off))} at most."
        )
    else:
        words.append(
            f"No plan of the study was timed yet: `{facts.export_command()}` does so. The points "
            "are passes of "
            "other plans, which the device was calibrated on."
        )
    tables = (_outcomes(facts),) if outcomes else ()
    return Section("measured", TITLE, tuple(words), figures=(_figure(facts, runs),), tables=tables)


def device_runs(facts: Facts) -> list[dict[str, Any]]:
    """Passes of plans that the device's profile ran whole; none where it kept none of this model."""
    try:
        path = facts.device.folder / WHOLE_FILE
    except MissingFactsError:
        return []
    if not path.is_file():
        return []
    frame = read_runs(path)
    frame = frame[frame["model"] == facts.record.model]
    return [
        {
            "predicted": row[f"{kind}_predicted_ms"], "measured": row[f"{kind}_measured_ms"],
            "kind": f"{kind} pass, when the device was profiled",
            "hint": f"plan {row['plan']} of the device's profile, {kind} pass: predicted "
                    f"{ms(row[f'{kind}_predicted_ms'])}, measured {ms(row[f'{kind}_measured_ms'])}",
            "name": f"profile, plan {row['plan']}", "low": None, "high": None,
        }
        for row in frame.to_dict(orient="records")
        for kind in ("refresh", "step")
        if row[f"{kind}_predicted_ms"] > 0  # else no logarithmic axis has it
    ]  # fmt: skip


def _points(facts: Facts) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in facts.outcomes:
        low, high = one.predicted_10_90_ms or (None, None)
        found.append(
            {
                "predicted": one.predicted_ms, "measured": one.measured_ms, "low": low, "high": high,
                "kind": "generation of a plan of this study", "name": one.title,
                "hint": f"{one.title}: predicted {ms(one.predicted_ms)}, measured {ms(one.measured_ms)}",
            }
        )  # fmt: skip
    return found


def _figure(facts: Facts, runs: list[dict[str, Any]]) -> Figure:
    rows = [*_points(facts), *runs]
    ends = [
        row[key] for row in rows for key in ("predicted", "measured", "low", "high") if row[key]
    ]
    ticks = spread_ticks(ends)
    x = log_axis("predicted", "predicted (ms)", ends, ticks)
    y = log_axis("measured", "measured (ms)", ends, ticks)
    low, high = x["scale"]["domain"]
    diagonal = [{"predicted": low, "measured": low}, {"predicted": high, "measured": high}]
    colours = (SERIES[0], GREY, SERIES[4]) if facts.outcomes else SERIES
    colour, shape = colour_and_shape("kind", None, (row["kind"] for row in rows), colours)
    spec = chart(
        layer(diagonal, "line", x=x, y=y, look={"color": INK, "strokeDash": [4, 4], "strokeWidth": 1}),
        layer([r for r in rows if r["low"]], "rule", x={**x, "field": "low"}, x2={"field": "high"}, y=y,
              look={"color": INK, "strokeWidth": 1.3, "opacity": 0.8}),
        layer(rows, "point", hint=True, x=x, y=y, color=colour, shape=shape,
              look={"filled": True, "size": 70, "opacity": 1}),
        width=560,
        height=420,
    )  # fmt: skip
    cells = tuple(
        (r["name"], r["kind"], number(r["predicted"]), _ends(r),
         number(r["measured"]), f"{r['predicted'] / r['measured'] - 1.0:+z.1%}")
        for r in rows
    )  # fmt: skip
    return Figure(
        "measured",
        "Measured time against predicted time",
        f"Scatter plot of {len(rows)} times, predicted across and measured upwards, with the line "
        "where both are "
        "equal.",
        spec,
        Table(
            ("what", "kind", "predicted ms", "10th to 90th", "measured ms", "off by"),
            cells,
            "Times",
        ),
        "On the dashed line both are equal. Bars: 10th to 90th percentile of a prediction.",
    )


def _ends(row: dict[str, Any]) -> str:
    return "" if row["low"] is None else ms_span((row["low"], row["high"]))


def _outcomes(facts: Facts) -> Table:
    first = facts.outcomes[0].measured_ms
    columns = (
        "plan", "passes", "predicted ms", "measured ms", "off by", "times faster", "tokens/s", "accuracy",
        "95 % interval", "bundle",
    )  # fmt: skip
    rows = tuple(
        (
            one.title,
            f"{one.measured_passes:.1f}",
            number(one.predicted_ms),
            number(one.measured_ms),
            f"{one.predicted_ms / one.measured_ms - 1.0:+z.1%}",
            f"{first / one.measured_ms:.1f}",
            f"{one.tokens_per_second:.0f}",
            percent(one.accuracy),
            percent_span(*one.interval),
            megabytes(one.size_bytes),
        )
        for one in facts.outcomes
    )
    target = facts.outcomes[-1].target_ms
    return Table(
        columns, rows, f"What was measured, beside a {target_words(ms(target), 'measured')}"
    )
