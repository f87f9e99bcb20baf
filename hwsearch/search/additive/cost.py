"""Known additive costs: what each choice of each parameter contributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hwsearch.errors import InputError
from hwsearch.search.additive.encoding import ChoiceSpace, Floats


@dataclass(frozen=True)
class AdditiveCost:
    """Cost of a plan = `constant` + Σ `term(parameter, choice)`, in one unit, say milliseconds.

    Attributes:
        term: cost of one choice of one parameter.
        constant: cost that every plan pays.
    """

    term: Callable[[str, Any], float]
    constant: float = 0.0

    @classmethod
    def of(cls, cost: Any, constant: float = 0.0) -> AdditiveCost | None:
        """An `AdditiveCost` from a table ``{parameter: {choice: cost}}`` or a function."""
        if cost is None or isinstance(cost, AdditiveCost):
            return cost
        if isinstance(cost, Mapping):
            return cls(_Table(cost), constant)
        return cls(cost, constant)

    def columns(self, space: ChoiceSpace) -> Floats:
        """Cost of each one-hot column, [columns].

        Raises:
            InputError: a cost is missing or not finite.
        """
        pairs = zip(space.names, space.choices, strict=True)
        values = [float(self.term(n, choice)) for n, choices in pairs for choice in choices]
        out = np.array(values)
        if not np.isfinite(out).all():
            column = int(np.flatnonzero(~np.isfinite(out))[0])
            name = space.names[space.group_of[column]]
            raise InputError(f"every cost must be finite; {name} has {out[column]}")
        return out


@dataclass(frozen=True)
class _Table:
    """A cost table as a function; parameters it does not list cost nothing."""

    table: Mapping[str, Mapping[Any, float]]

    def __call__(self, name: str, choice: Any) -> float:
        terms = self.table.get(name)
        if terms is None:
            return 0.0
        if choice not in terms:
            raise InputError(
                f"the cost table must list every choice of {name}; {choice!r} is missing "
                f"(it has {', '.join(map(repr, terms))})"
            )
        return terms[choice]
