"""A model's sinks in words: where they are, how much attention they get, how stable they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsearch.report.sinks.measures import STILL, SinkMeasures, bootstrap
from hwsearch.sinks.places import Place

#: Text of a token.
TextOf = Callable[[int], str]

#: Tokens of a place that are shown.
SHOWN_TOKENS = 3

#: Spread of a number drawn evenly from 0 to 1: a centre that wanders so much may be anywhere.
ANYWHERE = 12**-0.5


@dataclass(frozen=True)
class Scale:
    """What a figure is called, and from where on it is low or high.

    Attributes:
        name: the array of `SinkMeasures`.
        key: its name in the JSON document.
        unit: what it is counted in.
        low: below this it is low.
        high: from this on it is high.
    """

    name: str
    key: str
    unit: str
    low: float
    high: float

    def level(self, value: float) -> str:
        """``low``, ``middling`` or ``high``."""
        return "low" if value < self.low else "high" if value >= self.high else "middling"


SCALES = {
    scale.key: scale
    for scale in (
        Scale("concentration", "concentration", "share of attention on the sinks", 0.25, 0.5),
        Scale("spatial", "spatial_variance", "squared multiples of the mean mass", 0.25, 1.0),
        Scale("temporal", "temporal_deviation", "share of the length", STILL, ANYWHERE / 2),
        Scale("drift", "drift", "share of the length", STILL, ANYWHERE / 2),
        Scale("overlap", "overlap", "share of a pass's sinks", 0.5, 0.9),
        Scale("variance", "variance", "1 - share of passes as a sink", 0.1, 0.5),
    )
}


def in_words(measures: SinkMeasures, text_of: TextOf) -> dict[str, Any]:
    """Named figures of a model's sinks and three sentences or more about them, as plain data.

    Keys: ``where`` (a list of places, largest share first), ``figures`` (by the keys of `SCALES`: mean,
    95 % interval over problems, unit, level, by layer) and ``words`` (sentences).

    Args:
        measures: the model's.
        text_of: text of a token's id.
    """
    places = [_place(place, text_of) for place in measures.places]
    figures = {key: _figure(scale, measures) for key, scale in SCALES.items()}
    words = [*_where(places), _how_much(measures, figures), _how_stable(measures, figures)]
    return {"model": measures.model, "where": places, "figures": figures, "words": words}


def _figure(scale: Scale, measures: SinkMeasures) -> dict[str, Any]:
    values = getattr(measures, scale.name)
    if scale.name == "drift":
        values = np.abs(values)  # distance travelled counts, not its direction
    interval = bootstrap(values.mean(axis=1))
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "unit": scale.unit,
        "level": scale.level(interval.mean),
        "by_layer": values.mean(axis=0).tolist(),
    }


def _place(place: Place, text_of: TextOf) -> dict[str, Any]:
    interval = bootstrap(place.by_sequence)
    shown = list(place.tokens.items())[:SHOWN_TOKENS]
    return {
        "name": place_name(place, text_of),
        "kind": place.kind,
        "at": place.at,
        "tokens": [{"id": i, "text": text_of(i), "share": share} for i, share in shown],
        "share": place.share,
        "low": interval.low,
        "high": interval.high,
        "times_even": place.times_even,
        "positions": place.positions,
        "sink": place.sink,
        "heaviest": place.heaviest,
        "strongest_layer": int(place.by_layer.argmax()),
        "by_layer": place.by_layer.tolist(),
    }


def place_name(place: Place, text_of: TextOf) -> str:
    """What a place is called: its position, and what stands there.

    A position counted from the prompt's end is called by how far before the end it is, or by how
    far into the answer.
    """
    if place.kind == "token":
        return f"the token {text_of(place.at)!r}"
    at = place.at
    if place.kind == "start":
        name = "the first token" if at == 0 else f"token {at + 1} from the start"
    elif at >= 0:
        name = "the first token of the answer" if at == 0 else f"token {at + 1} of the answer"
    else:
        name = "the last token of the prompt"
        name = name if at == -1 else f"token {-at} before the prompt's end"
    texts = [repr(text_of(token)) for token in list(place.tokens)[:SHOWN_TOKENS]]
    if not texts:
        return name
    more = len(place.tokens) - len(texts)
    return f"{name} ({', '.join(texts)}{f' and {more} others' if more else ''})"


def _where(places: list[dict[str, Any]]) -> list[str]:
    if not places:
        return [
            "Where: nowhere in particular; no place that has a name in every problem (counted from the "
            "start, from the prompt's end, or by its token) gets twice an even share of the attention."
        ]
    return [f"Where: {_one(place)}" for place in places]


def _one(place: dict[str, Any]) -> str:
    layer = place["strongest_layer"]
    several = f" in {place['positions']:.1f} positions" if place["positions"] > 1.005 else ""
    return (
        f"{place['name']} receives {_percent(place['share'])} of all attention{several} (95 % "
        f"interval {_percent(place['low'])} to {_percent(place['high'])}), "
        f"{place['times_even']:.1f} times an even share; it is among the sinks in "
        f"{_percent(place['sink'])} of passes and layers and the heaviest in "
        f"{_percent(place['heaviest'])}, strongest in layer {layer} "
        f"({_percent(place['by_layer'][layer])})."
    )


def _how_much(measures: SinkMeasures, figures: dict[str, Any]) -> str:
    share, spatial = figures["concentration"], figures["spatial_variance"]
    k = measures.k
    sinks = (
        f"the {k:g} heaviest positions" if k >= 1 else f"the heaviest {_percent(k)} of positions"
    )
    return (
        f"How much: {sinks} of a pass receive {_percent(share['mean'])} of its attention "
        f"({share['level']}; even attention would give them {_percent(measures.even.mean())}). "
        f"Spatial variance is {spatial['mean']:.3g} {spatial['unit']}: {spatial['level']} (0 if attention "
        f"is even, {measures.lengths.mean() - 1:.0f} if one position has it all)."
    )


def _how_stable(measures: SinkMeasures, figures: dict[str, Any]) -> str:
    overlap, centre, drift, variance = (
        figures[key] for key in ("overlap", "temporal_deviation", "drift", "variance")
    )
    return (
        f"How stable: {_percent(overlap['mean'])} of a pass's sinks were sinks in the pass before "
        f"({overlap['level']}; chance alone would give {_percent(measures.even.mean())}), and a position "
        f"that ever is a sink is one in {_percent(1 - variance['mean'])} of the passes. The sinks' centre "
        f"wanders by {_percent(centre['mean'])} of the length ({centre['level']}; standard deviation over "
        f"passes, {_percent(ANYWHERE)} if it were anywhere) and travels {_percent(drift['mean'])} of the "
        f"length from first pass to last ({drift['level']})."
    )


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
