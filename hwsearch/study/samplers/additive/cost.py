"""Known costs: what each choice of each parameter contributes, exactly or nearly."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsearch.errors import InputError
from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows

if TYPE_CHECKING:
    from hwsearch.study.choices.cost_tables import CostTables


@dataclass(frozen=True)
class AdditiveCost:
    """Cost of a plan = `constant` + Σ `term(parameter, choice)`, in one unit, say milliseconds.

    Attributes:
        term: cost of one choice of one parameter.
        constant: cost that every plan pays.
        whole: cost of whole plans, where the sum is only near it: given parameter names and
            the index of each choice, ``[plans, names]``, it answers ``[plans]``.
        expected: a parameter whose choices have costs that are expected only, and corrected by what
            trials were seen to cost; None where all are exact.
        first: total cost of the plan of first choices, which trials' totals are compared with.
    """

    term: Callable[[str, Any], float]
    constant: float = 0.0
    whole: Callable[[Sequence[str], Rows], Floats] | None = None
    expected: str | None = None
    first: float = 0.0

    @classmethod
    def of(cls, cost: Any, constant: float = 0.0) -> AdditiveCost | None:
        """An `AdditiveCost` from a table ``{parameter: {choice: cost}}`` or a function."""
        if cost is None or isinstance(cost, AdditiveCost):
            return cost
        if isinstance(cost, Mapping):
            return cls(_Table(cost), constant)
        return cls(cost, constant)

    @classmethod
    def of_tables(cls, tables: CostTables, expected: str | None = None) -> AdditiveCost:
        """What plans add to the first, of tables over one parameter each or over several."""
        whole = None if tables.is_additive else tables.added
        constant = 0.0 if tables.is_additive else tables.constant
        return cls(_Table(tables.by_choice), constant, whole, expected, tables.first)

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
        costs = self.table.get(name)
        if costs is None:
            return 0.0
        if choice not in costs:
            raise InputError(
                f"the cost table must list every choice of {name}; {choice!r} is missing "
                f"(it has {', '.join(map(repr, costs))})"
            )
        return costs[choice]
