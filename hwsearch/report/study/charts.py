"""How figures look: colours that every reader tells apart, axes, and the parts of specifications.

A page shows the same drawing in light and in dark: colours of a figure are looked up there by what they
are here, so only those of `DARK` may be used for what must be read on the page's ground.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hwsearch.report.study.section import Spec

#: Text, text of less weight, lines behind what is drawn, and what is greyed.
INK, MUTED, GRID, GREY = "#1f2328", "#57606a", "#d8dee4", "#9aa1a9"

#: The chosen plan, and the target.
CHOSEN, TARGET = "#b3004a", "#c04a00"

#: Series. After Okabe and Ito, darkened until each has a contrast of 3 on white.
SERIES = (
    "#0072b2", "#d55e00", "#00805d", "#aa4499", "#8a7000", "#3f8fc0", "#7a4b20", "#5b5f97",
)  # fmt: skip

#: Shapes of the same series, so that colour is not the only sign.
SHAPES = (
    "circle", "square", "triangle-up", "diamond", "cross", "triangle-down", "triangle-right",
    "triangle-left",
)  # fmt: skip

#: What each colour is on a dark ground.
DARK: Mapping[str, str] = {
    INK: "#e6edf3",
    MUTED: "#aab4be",
    GRID: "#343b43",
    GREY: "#7d8590",
    CHOSEN: "#ff7ab2",
    TARGET: "#ff9a4d",
    **dict(
        zip(
            SERIES,
            (
                "#58b4ec", "#ff8c42", "#2fd0a0", "#e79ad3", "#e3c04a", "#a5d8ff", "#d9a066",
                "#b3b8ff",
            ),
            strict=True,
        )
    ),
}  # fmt: skip

#: Ends and middle of the scale of heat maps: light to dark, which prints and is told apart in grey.
RAMP = ("#f3f7fb", "#7fb2d9", "#08306b")

#: Pixels of a figure that is as wide as the page.
WIDTH = 860

# Figures are laid out in Arial's widths. Where a reader has no such font, a substitute is a fifth wider.
#: Pixels of a letter in the widest substitute, and room between columns of a legend for its words.
_LETTER, _BETWEEN_COLUMNS = 7.4, 60

_SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"

_CONFIG: Mapping[str, Any] = {
    "background": None,
    "font": "Arial, Helvetica, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": INK, "titleColor": INK, "gridColor": GRID, "domainColor": MUTED,
        "tickColor": MUTED, "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
        "titlePadding": 8, "labelLimit": 260, "aria": False,
    },
    "legend": {
        "labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12,
        "titleFontWeight": "bold", "labelLimit": 420, "symbolSize": 90, "aria": False,
        "symbolBaseFillColor": INK, "symbolBaseStrokeColor": INK, "columnPadding": _BETWEEN_COLUMNS,
    },
    "text": {"color": INK, "fontSize": 12},
}  # fmt: skip


def chart(
    *layers: Mapping[str, Any], width: int = WIDTH, height: int = 300, **rest: object
) -> Spec:
    """A figure of layers, which share their axes."""
    size = {"width": width, "height": height, "padding": 6}
    fit = {"autosize": {"type": "fit-x", "contains": "padding"}}
    return {"$schema": _SCHEMA, "config": _CONFIG, **size, **fit, "layer": list(layers), **rest}


def layer(
    values: Sequence[Mapping[str, Any]],
    mark: str,
    *,
    hint: bool = False,
    look: Mapping[str, Any] | None = None,
    **channels: object,
) -> dict[str, Any]:
    """Marks of one kind.

    Args:
        values: one mapping a mark.
        mark: kind of the marks.
        hint: whether each has a hint, its field ``hint``, that a pointer or a key shows.
        look: further properties of the marks.
        channels: encodings by channel.
    """
    if hint:
        channels["description"] = {"field": "hint", "type": "nominal"}
    properties = {"type": mark, "aria": hint, **(look or {})}
    return {"data": {"values": list(values)}, "mark": properties, "encoding": channels}


def quantity(field: str, title: str | None, **scale: object) -> dict[str, Any]:
    """An axis of numbers."""
    found: dict[str, Any] = {"field": field, "type": "quantitative", "title": title}
    axis = scale.pop("axis", None)
    if axis is not None:
        found["axis"] = axis
    return {**found, "scale": {"zero": False, "nice": True, **scale}}


def colour_and_shape(
    field: str, title: str | None, values: Iterable[Any], colours: Sequence[str] = SERIES
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Colour and shape of points by their kind, with a legend below.

    Args:
        field: what tells the kind.
        title: of the legend; None gives it none.
        values: kinds of all points, in the order that the legend has them; they may come again.
        colours: one a kind.
    """
    found = list(dict.fromkeys(values))
    legend = {"orient": "bottom", "direction": "vertical"}
    colour, shape = (
        {"field": field, "type": "nominal", "title": title, "sort": found, "legend": legend,
         "scale": {"domain": found, "range": list(range_[: len(found)])}}
        for range_ in (colours, SHAPES)
    )  # fmt: skip
    return colour, shape


def log_axis(
    field: str, title: str, values: Iterable[float], steps: Sequence[int]
) -> dict[str, Any]:
    """A logarithmic axis that ends a little beyond its values, with few ticks.

    Args:
        field: what is shown.
        title: what it is called, with its unit.
        values: all that will be shown, above 0.
        steps: multiples of powers of ten that get a tick.
    """
    shown = list(values)
    low, high = min(shown), max(shown)
    # the root of each, since a ratio of the largest and the smallest numbers is none
    room = high**0.07 / low**0.07 if high > low else 1.5
    low, high = low / room, min(high * room, sys.float_info.max)
    top = min(math.ceil(math.log10(high)), sys.float_info.max_10_exp)
    powers = range(math.floor(math.log10(low)), top + 1)
    ticks = [step * 10.0**power for power in powers for step in steps]
    axis = {"values": [tick for tick in ticks if low <= tick <= high], "format": "~g"}
    scale = {"type": "log", "domain": [low, high], "nice": False}
    return {"field": field, "type": "quantitative", "title": title, "axis": axis, "scale": scale}


def whole_numbers(field: str, title: str, values: Sequence[int]) -> dict[str, Any]:
    """An axis of whole numbers from 0, with a dozen ticks at most."""
    count = max(values, default=0) + 1
    ticks = list(range(0, count, math.ceil(count / 12)))
    return quantity(
        field, title, padding=12, nice=False, axis={"grid": False, "format": "d", "values": ticks}
    )


def spread_ticks(values: Sequence[float]) -> tuple[int, ...]:
    """Multiples of powers of ten that get a tick: fewer where the axis is long."""
    decades = math.log10(max(values) / min(values)) if min(values) < max(values) else 0.0
    if decades > 3:
        return (1,)
    return (1, 3) if decades > 2 else (1, 2, 5) if decades > 0.8 else (1, 2, 3, 4, 5, 6, 7, 8, 9)


def names(field: str, order: Sequence[str], title: str | None = None, **axis: object) -> Any:
    """An axis of names in a given order; one at the left has room for the longest in any font."""
    room = 0.0 if axis.get("orient") == "top" else _LETTER * max(map(len, order), default=0)
    shown = {"labelAngle": 0, "labelLimit": 320, "minExtent": room, **axis}
    return {"field": field, "type": "nominal", "title": title, "sort": list(order), "axis": shown}


def series(field: str, order: Sequence[str], title: str | None, **legend: object) -> Any:
    """Colours by name, in a given order."""
    colours = [SERIES[place % len(SERIES)] for place in range(len(order))]
    return {
        "field": field,
        "type": "nominal",
        "title": title,
        "sort": list(order),
        "scale": {"domain": list(order), "range": colours},
        "legend": {"orient": "bottom", "direction": "vertical", "columns": 2, **legend},
    }


#: A legend under a figure.
BELOW: Mapping[str, Any] = {
    "orient": "bottom",
    "direction": "horizontal",
    "gradientLength": 220,
    "tickCount": 3,
}

#: Layers of a figure that colour different things.
APART = {"scale": {"color": "independent"}, "legend": {"color": "independent"}}


def heat(field: str, title: str, low: float = 0.0, high: float = 1.0, **legend: object) -> Any:
    """The scale of a heat map."""
    shown = {"orient": "right", "gradientLength": 120, **legend}
    return {
        "field": field,
        "type": "quantitative",
        "title": title,
        "scale": {"domain": [low, high], "range": list(RAMP), "interpolate": "rgb", "clamp": True},
        "legend": shown,
    }


def ink_on(share: float) -> str:
    """Black or white, whichever is read better on the heat map's colour of a share from 0 to 1.

    >>> ink_on(0.0), ink_on(1.0)
    ('#000000', '#ffffff')
    """
    place = 2 * min(max(share, 0.0), 1.0)
    low = min(int(place), 1)
    ends = (_channels(RAMP[low]), _channels(RAMP[low + 1]))
    mixed = [a + (b - a) * (place - low) for a, b in zip(*ends, strict=True)]
    light = sum(w * _linear(c / 255) for w, c in zip((0.2126, 0.7152, 0.0722), mixed, strict=True))
    return "#000000" if (light + 0.05) ** 2 > 1.05 * 0.05 else "#ffffff"


def _channels(colour: str) -> list[int]:
    return [int(colour[at : at + 2], 16) for at in (1, 3, 5)]


def _linear(value: float) -> float:
    """A channel of sRGB as light (IEC 61966-2-1)."""
    return value / 12.92 if value <= 0.04045 else float(((value + 0.055) / 1.055) ** 2.4)
