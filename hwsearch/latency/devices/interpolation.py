"""Between measured shapes: monotone, along one size after the other, never beyond the range."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from hwsearch.latency.operators import OpKey

#: Sizes that an operator may be interpolated along, the surest first. "heads" keeps the width of a
#: head, so widths grow with it; "cached" are the keys beyond an attention's own rows, and its rows
#: keep those.
AXES = {
    "linear": ("rows", "out_features", "in_features"),
    "attention": ("cached", "rows", "heads"),
    "attention-mass": ("cached", "rows", "heads"),
    "mean-query": ("in_features", "rows", "heads"),
    "norm": ("rows", "in_features"),
    "swiglu": ("rows", "in_features"),
    "rotary": ("rows", "heads"),
    "predict": ("rows", "in_features"),
}


class Interpolator:
    """Costs at measured shapes, and between them.

    Idea: an operator's time rises with each of its sizes and bends where caches and tiles end, so a
    monotone curve through measured sizes follows it and never overshoots between them. Steps: a
    shape that was not measured is looked for along one size after the other, the surest first
    (`AXES`); costs along it are kept from falling; a cubic in logarithms is read off.

    Limits: never beyond the measured range. Kernels that are much quicker at multiples of some number
    are smoothed over; time those sizes themselves.

    Source: monotone piecewise cubics, Fritsch and Carlson (1980), as scipy's `PchipInterpolator`;
    isotonic regression, Barlow et al. (1972), as scipy's `isotonic_regression`.

    Args:
        costs: microseconds by operator.
    """

    def __init__(self, costs: Mapping[OpKey, float]) -> None:
        # imported here, not at the first shape between two rows: that takes longer than a prediction
        from scipy.interpolate import PchipInterpolator
        from scipy.optimize import isotonic_regression

        self._costs = costs
        self._curve, self._rising = PchipInterpolator, isotonic_regression

    def cost_us(self, key: OpKey) -> float | None:
        """Microseconds at a shape; None where measured shapes do not lie on both sides of it.

        A size between two measured ones is read off a curve through all shapes that differ in
        that size alone (and are priced themselves, perhaps along another size): piecewise cubic,
        in logarithms, monotone (Fritsch and Carlson 1980), through costs that isotonic regression
        keeps from falling where noise would have them fall.
        """
        return self._between(key, AXES[key.kind])

    def _between(self, key: OpKey, axes: Sequence[str]) -> float | None:
        exact = self._costs.get(key)
        if exact is not None or not axes:
            return exact
        axis, rest = axes[0], axes[1:]
        wanted = size_of(key, axis)
        points = self._points(key, axis, rest)
        if wanted in points:
            return points[wanted]
        if not points or not min(points) < wanted < max(points):
            return self._between(key, rest) if wanted in self._sizes[key.kind, axis] else None
        # keys are never 0, even where none of them is cached
        offset = key.rows if axis == "cached" else 0
        return self._monotone({offset + size: us for size, us in points.items()}, offset + wanted)

    def _points(self, key: OpKey, axis: str, rest: Sequence[str]) -> dict[int, float]:
        found = {}
        for size in self._sizes[key.kind, axis]:
            other = at(key, axis, size)
            cost = None if other is None else self._between(other, rest)
            if cost is not None:
                found[size] = cost
        return found

    def _monotone(self, points: Mapping[int, float], wanted: int) -> float:
        sizes = sorted(points)
        costs = self._rising([points[size] for size in sizes]).x
        curve = self._curve(np.log(sizes), np.log(costs))
        return float(np.exp(curve(np.log(wanted))))

    @cached_property
    def _sizes(self) -> dict[tuple[str, str], list[int]]:
        """Sizes that were measured, by kind and axis."""
        kinds = {(kind, axis): set[int]() for kind, axes in AXES.items() for axis in axes}
        for key in self._costs:
            for axis in AXES[key.kind]:
                kinds[key.kind, axis].add(size_of(key, axis))
        return {which: sorted(sizes) for which, sizes in kinds.items()}


def size_of(key: OpKey, axis: str) -> int:
    """An operator's size along an axis."""
    return key.in_features - key.rows if axis == "cached" else int(getattr(key, axis))


def at(key: OpKey, axis: str, size: int) -> OpKey | None:
    """The same operator at another size; None where heads or widths would not come out whole."""
    if axis == "cached":
        return replace(key, in_features=key.rows + size)
    if axis == "rows" and key.kind.startswith("attention"):
        return replace(key, rows=size, in_features=size + size_of(key, "cached"))
    if axis != "heads":
        return replace(key, **{axis: size})  # type: ignore[arg-type]
    widths = [width * size for width in (key.in_features, key.out_features, key.kv_heads)]
    if key.kind != "rotary":
        widths[0] = key.in_features * key.heads
    if not key.heads or any(width % key.heads for width in widths):
        return None
    inner, outer, kv_heads = (width // key.heads for width in widths)
    return replace(key, heads=size, in_features=inner, out_features=outer, kv_heads=kv_heads)


def span(keys: Iterable[OpKey], like: OpKey) -> str:
    """What was measured of an operator's kind and format, in words, for messages."""
    same = [key for key in keys if (key.kind, key.format) == (like.kind, like.format)]
    if not same:
        return f"it has no {like.kind} in {like.format}"
    ranges = []
    for axis in AXES[like.kind]:
        sizes = {size_of(key, axis) for key in same}
        ranges.append(f"{axis} {min(sizes)}..{max(sizes)}")
    return f"of {like.kind} {like.format} it has {', '.join(ranges)}"
