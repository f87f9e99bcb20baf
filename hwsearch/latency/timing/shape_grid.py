"""A grid of shapes: operators to time for models that are not known yet."""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import product
from typing import Self

from hwsearch.errors import InputError
from hwsearch.formats.catalog import USUAL_FORMATS
from hwsearch.latency.operators import OpKey
from hwsearch.plan import WeightFormat


@dataclass(frozen=True)
class ShapeGrid:
    """Sizes whose combinations are timed; what lies between them is interpolated.

    Attributes:
        rows: rows of a pass.
        features: widths: hidden, fused and intermediate.
        cached: attention's keys beyond the rows of a step; a refresh has none.
        heads: query heads.
        head_dim: width of a head.
        vocab: sizes of the vocabulary.
    """

    rows: tuple[int, ...]
    features: tuple[int, ...]
    cached: tuple[int, ...]
    heads: tuple[int, ...]
    head_dim: tuple[int, ...]
    vocab: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> Self:
        """A grid from ``rows=16,64 features=256,1024 cached=64,256 heads=4,16 head_dim=64 vocab=500``.

        Raises:
            InputError: a size is missing, unknown or not a whole number above 0.
        """
        known = [field.name for field in fields(cls)]
        pairs = dict(part.partition("=")[::2] for part in text.split())
        for name in {*pairs} ^ {*known}:
            state = "unknown" if name in pairs else "missing"
            raise InputError(f"grid: {name} is {state}; it needs {', '.join(known)}, got {text!r}")
        return cls(**{name: _sizes(name, values) for name, values in pairs.items()})

    def operators(self, formats: tuple[WeightFormat, ...] = USUAL_FORMATS) -> list[OpKey]:
        """Every operator of the grid, in order."""
        keys: set[OpKey] = set()
        widths = (*self.features, *self.vocab)
        for rows in self.rows:
            keys |= {
                OpKey("linear", rows, inner, outer, format=fmt.value)
                for inner, outer, fmt in product(self.features, widths, formats)
            }
            keys |= {OpKey(kind, rows, n) for kind in ("norm", "swiglu") for n in self.features}
            keys |= {OpKey("predict", rows, size) for size in self.vocab}
            keys |= self._attention(rows)
        return sorted(keys)

    def _attention(self, rows: int) -> set[OpKey]:
        found: set[OpKey] = set()
        for heads, dim in product(self.heads, self.head_dim):
            # queries and keys are rotated together: twice the heads without grouped queries
            found.add(OpKey("rotary", rows, 2 * heads * dim, 0, 2 * heads))
            found.add(OpKey("attention-mass", rows, rows, heads * dim, heads))
            for cached in {0, *self.cached}:
                found.add(OpKey("attention", rows, rows + cached, heads * dim, heads))
        return found


def _sizes(name: str, text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(sorted({int(part) for part in text.split(",")}))
    except ValueError:
        sizes = (0,)
    if sizes[0] < 1:
        raise InputError(
            f"grid: {name} must be whole numbers above 0, comma separated; got {text!r}"
        )
    return sizes
