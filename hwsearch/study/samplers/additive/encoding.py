"""Search space ⇄ rows of choice indices, the form every other module of the sampler works on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from hwsearch.errors import InputError

Rows = NDArray[np.intp]
Floats = NDArray[np.float64]


def choices_of(distribution: BaseDistribution, limit: int) -> tuple[Any, ...] | None:
    """The values a distribution can take, lowest first; None if there are more than `limit`.

    A categorical keeps the order it was written in. A continuous float has no choices.
    """
    if isinstance(distribution, CategoricalDistribution):
        return distribution.choices if len(distribution.choices) <= limit else None
    if not isinstance(distribution, IntDistribution | FloatDistribution):
        return None
    if distribution.step is None:
        return None
    count = round((distribution.high - distribution.low) / distribution.step) + 1
    if count > limit:
        return None
    values = [distribution.low + i * distribution.step for i in range(count)]
    if isinstance(distribution, IntDistribution):
        return tuple(int(v) for v in values)
    return tuple(float(round(v, 12)) for v in values)


@dataclass(frozen=True)
class ChoiceSpace:
    """A finite space: a plan is one choice for each parameter.

    Attributes:
        names: parameter names.
        choices: the choices of each parameter, from the most to the least faithful where they
            have an order.
        distributions: the optuna distribution of each parameter.
        reference: index of each parameter's reference (uncompressed) choice.
        labels: what each parameter sets; empty where nobody said.
    """

    names: tuple[str, ...]
    choices: tuple[tuple[Any, ...], ...]
    distributions: tuple[BaseDistribution, ...]
    reference: tuple[int, ...]
    labels: tuple[str, ...] = ()

    @classmethod
    def of(
        cls,
        search_space: Mapping[str, BaseDistribution],
        reference: Mapping[str, Any],
        limit: int,
        kinds: Mapping[str, str] | None = None,
    ) -> ChoiceSpace:
        """The part of `search_space` with 2 to `limit` choices a parameter, sorted by name.

        Raises:
            InputError: a reference is not one of its parameter's choices.
        """
        names, choices, distributions, index = [], [], [], []
        for name, distribution in sorted(search_space.items()):
            values = choices_of(distribution, limit)
            if values is None or len(values) < 2:
                continue
            names.append(name)
            choices.append(values)
            distributions.append(distribution)
            index.append(_reference_index(name, values, reference))
        labels = tuple((kinds or {}).get(name, "") for name in names)
        return cls(tuple(names), tuple(choices), tuple(distributions), tuple(index), labels)

    @cached_property
    def sizes(self) -> Rows:
        """Number of choices of each parameter, [groups]."""
        return np.array([len(c) for c in self.choices], dtype=np.intp)

    @cached_property
    def offsets(self) -> Rows:
        """First column of each parameter in a one-hot row, [groups]."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.intp)

    @cached_property
    def group_of(self) -> Rows:
        """Parameter index of each one-hot column, [columns]."""
        return np.repeat(np.arange(len(self.names)), self.sizes)

    @cached_property
    def choice_of(self) -> Rows:
        """Choice index of each one-hot column, [columns]."""
        return np.arange(self.columns) - self.offsets[self.group_of]

    @cached_property
    def reference_row(self) -> Rows:
        """The reference plan, [groups]."""
        return np.array(self.reference, dtype=np.intp)

    @cached_property
    def kinds(self) -> Rows:
        """Parameters with the same label, choices and reference share a kind, [groups]."""
        known: dict[Any, int] = {}
        labels = self.labels or ("",) * len(self.names)
        keys = [repr(key) for key in zip(labels, self.choices, self.reference, strict=True)]
        return np.array([known.setdefault(key, len(known)) for key in keys], dtype=np.intp)

    @cached_property
    def ordered(self) -> NDArray[np.bool_]:
        """Whether a parameter's choices are numbers in order, [groups]."""
        return np.array([not isinstance(d, CategoricalDistribution) for d in self.distributions])

    @property
    def columns(self) -> int:
        """Columns of a one-hot row: the sum of `sizes`."""
        return int(self.sizes.sum())

    @property
    def plans(self) -> int:
        """Number of plans in the space, exact however large."""
        return int(np.prod(self.sizes.astype(object))) if len(self.names) else 1

    @cached_property
    def _lookup(self) -> tuple[dict[Any, int], ...]:
        """Index by type and value: True is not 1, and 1.0 may be a choice beside it."""
        return tuple({(type(v), v): i for i, v in enumerate(c)} for c in self.choices)

    def encode(self, params: Mapping[str, Any]) -> tuple[int, ...] | None:
        """Choice indices of a plan; None if a parameter is missing or has another value."""
        pairs = zip(self.names, self._lookup, strict=True)
        try:
            values = [(params[name], lookup) for name, lookup in pairs]
            return tuple([lookup[type(value), value] for value, lookup in values])
        except KeyError:
            return self._encode_nearly(params)

    def _encode_nearly(self, params: Mapping[str, Any]) -> tuple[int, ...] | None:
        """`encode` where a value is no choice as it stands, but may be one up to rounding."""
        row = []
        for name, values, lookup in zip(self.names, self.choices, self._lookup, strict=True):
            if name not in params:
                return None
            value = params[name]
            index = lookup.get((type(value), value))
            if index is None:
                index = _index(values, value)
                if index < 0:
                    return None
            row.append(index)
        return tuple(row)

    def decode(self, row: Rows) -> dict[str, Any]:
        """Parameter values of a plan."""
        return {n: c[int(i)] for n, c, i in zip(self.names, self.choices, row, strict=True)}

    def enumerate(self) -> Rows:
        """Every plan, [plans, groups]. Only for small spaces."""
        return np.indices(tuple(self.sizes)).reshape(len(self.names), -1).T

    def one_hot(self, rows: Rows, weight: Floats | float = 1.0) -> Floats:
        """One-hot rows, [n, columns]; each hot entry is its column's `weight`."""
        return self.indicators(rows, np.float64) * weight

    def indicators(self, rows: Rows, dtype: DTypeLike) -> NDArray[Any]:
        """Whether each plan has each column's choice, 1 or 0, [n, columns]."""
        out = np.zeros((len(rows), self.columns), dtype)
        out[np.arange(len(rows))[:, None], rows + self.offsets] = 1
        return out

    def total(self, rows: Rows, column_values: Floats) -> Floats:
        """Sum of the chosen columns' values, [n]."""
        total: Floats = column_values[rows + self.offsets].sum(axis=1)
        return total


def _reference_index(name: str, values: tuple[Any, ...], reference: Mapping[str, Any]) -> int:
    index = _index(values, reference[name]) if name in reference else 0
    if index < 0:
        raise InputError(
            f"the reference of {name} must be one of {', '.join(map(repr, values))}; "
            f"got {reference[name]!r}"
        )
    return index


def _index(values: tuple[Any, ...], value: Any) -> int:
    """Index of `value` among `values`, floats within 1e-9; -1 if it is none of them."""
    for index, candidate in enumerate(values):
        if type(candidate) is type(value) and candidate == value:
            return index
        numbers = isinstance(candidate, float) and isinstance(value, int | float)
        if numbers and abs(candidate - value) <= 1e-9 * max(1.0, abs(candidate)):
            return index
    return -1
