"""What plans cost, milliseconds or bytes, as a sum of small tables: exact, and quick to search.

The idea: the predicted time of a plan is a sum over layers, and so are its bytes. What a parameter
adds therefore depends on few others, and often on none. Fewer heads save more of wider formats,
fewer channels too; a kept share counts for fewer heads, and is multiplied by the scales of the whole
plan. Each such handful of parameters gets one table, filled by pricing plans that differ from the
plan of first choices in these parameters alone; a plan's cost is that plan's plus one cell a table. How
text is decoded says how often each pass is run, so where that may be chosen it is in every table.

What it is good for: the fastest plan within a limit of bytes is an integer program over the tables
(`hwsearch.study.choices.exact_solution`), the sampler knows what a proposal costs without pricing it,
and a finished study answers another target without its model or device.

Limits: a table grows with the product of its parameters' choices; a cost that is no sum over layers
cannot be written so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.plan import CompressionPlan, short_of
from hwsearch.study.choices.search_space import DECODING

if TYPE_CHECKING:
    from hwsearch.study.choices.search_space import SearchSpace

#: What each choice, by its index, of each parameter adds to something.
ChoiceCosts = dict[str, dict[int, float]]

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class CostTable:
    """What some parameters add together.

    Attributes:
        names: the parameters.
        values: what their choices add, one axis a parameter.
    """

    names: tuple[str, ...]
    values: Floats

    def margin(self, name: str) -> Floats:
        """Mean over all other parameters, by the choice of one."""
        others = tuple(axis for axis, other in enumerate(self.names) if other != name)
        return np.asarray(self.values.mean(axis=others))


@dataclass(frozen=True, eq=False)
class CostTables:
    """A quantity of plans: that of the plan of first choices, and what other choices add to it.

    Attributes:
        first: of the plan of first choices.
        tables: what is added; a plan's quantity is their sum.
    """

    first: float
    tables: tuple[CostTable, ...]

    @classmethod
    def measure(
        cls,
        space: SearchSpace,
        quantity: Callable[[CompressionPlan], float],
        by_passes: bool = True,
    ) -> CostTables:
        """The tables of a quantity that is a sum over layers, each read off plans of the space.

        Args:
            space: the plans.
            quantity: of a plan.
            by_passes: whether it depends on what passes run and keep, or on the weights alone.
        """
        parameters, at = space.parameters(), _pricing(space, quantity)

        def table(names: Sequence[str], beside: Sequence[str]) -> CostTable:
            """What choices of `names` add to those of `beside`, which are among them."""
            values = np.empty([len(parameters[name]) for name in names])
            for row in np.ndindex(*values.shape):
                chosen = dict(zip(names, row, strict=True))
                values[row] = at(chosen) - at({name: chosen[name] for name in beside})
            return CostTable(tuple(names), values)

        shared = tuple(space.plan_dials) if by_passes else ()
        # formats act on how often a pass is run, but not on what it keeps
        often = tuple(name for name in shared if name == DECODING)
        found = [table(shared, ())] if shared else []
        for group in space.spans:
            heads, channels = (
                [f"{group}.{field}"] if field in space.dials else []
                for field in ("kept_heads", "kept_channels")
            )
            found.append(table([f"{group}.sink_threshold", *heads, *shared], shared))
            # what heads cost beside formats is in the table above, what channels do in the first of theirs
            beside = {"attention": heads, "mlp": []}
            for field in space.linear_groups:
                short = short_of(field)
                size = heads if short == "attention" else channels
                name = f"{group}.{field}"
                found.append(table([name, *size, *often], [*beside[short], *often]))
                beside[short] = size
        found.append(table(["head", *often], often))
        return cls(at({}), tuple(found))

    @classmethod
    def additive(cls, first: float, table: Mapping[str, Mapping[int, float]]) -> CostTables:
        """A quantity to which every choice adds by itself."""
        return cls(
            first,
            tuple(
                CostTable((name,), np.array([costs[choice] for choice in range(len(costs))]))
                for name, costs in table.items()
            ),
        )

    @property
    def is_additive(self) -> bool:
        """Whether every choice adds the same, whatever else is chosen."""
        return all(len(table.names) == 1 for table in self.tables)

    @cached_property
    def by_choice(self) -> ChoiceCosts:
        """What each choice adds: exactly so if `is_additive`, else in the mean over all plans.

        Those means are the main effects, the table that misses the least in the square over all plans.
        """
        found: dict[str, Floats] = {}
        for table in self.tables:
            for name in table.names:
                margin = table.margin(name)
                found[name] = found.get(name, 0.0) + margin - margin[0]
        return {name: dict(enumerate(values.tolist())) for name, values in found.items()}

    @cached_property
    def constant(self) -> float:
        """What `by_choice` leaves out of the mean over all plans; 0 if `is_additive`."""
        means = sum(float(table.values.mean()) for table in self.tables)
        return means - sum(
            float(np.mean(list(costs.values()))) for costs in self.by_choice.values()
        )

    def added(self, names: Sequence[str], rows: NDArray[np.intp]) -> Floats:
        """What plans add to the first, exactly, ``[plans]``.

        Args:
            names: parameters; others are at their first choices.
            rows: choices of each plan, ``[plans, names]``.
        """
        place = {name: column for column, name in enumerate(names)}
        none = np.zeros(len(rows), dtype=np.intp)
        total = np.zeros(len(rows))
        for table in self.tables:
            total += table.values[
                tuple(rows[:, place[name]] if name in place else none for name in table.names)
            ]
        return total

    def of(self, params: Mapping[str, int]) -> float:
        """The quantity of one plan."""
        names = list(params)
        row = np.array([[params[name] for name in names]], dtype=np.intp)
        return self.first + float(self.added(names, row)[0])

    def check(self, space: SearchSpace) -> None:
        """See that tables that were kept somewhere are of a space.

        Raises:
            ValueError: one has an unknown parameter, other choices than the space, or holds no finite number.
        """
        sizes = {name: len(choices) for name, choices in space.parameters().items()}
        for table in self.tables:
            unknown = [name for name in table.names if name not in sizes]
            if unknown:
                raise ValueError(
                    f"a table of costs is of {unknown[0]!r}, which the study does not choose"
                )
            shape = tuple(sizes[name] for name in table.names)
            if table.values.shape != shape or not np.isfinite(table.values).all():
                raise ValueError(
                    f"the table of costs of {' and '.join(table.names)} must hold {shape} finite numbers"
                )

    def document(self) -> list[dict[str, Any]]:
        """The tables as plain data."""
        return [{"names": list(t.names), "values": t.values.tolist()} for t in self.tables]

    @classmethod
    def read(cls, first: float, document: Sequence[Mapping[str, Any]]) -> CostTables:
        """The tables of plain data."""
        tables = (
            CostTable(tuple(t["names"]), np.array(t["values"], dtype=float)) for t in document
        )
        return cls(first, tuple(tables))


def _pricing(
    space: SearchSpace, quantity: Callable[[CompressionPlan], float]
) -> Callable[[Mapping[str, int]], float]:
    """Prices the plan of first choices but for some, given by name; tables share plans, each priced once."""
    first = dict.fromkeys(space.parameters(), 0)

    @cache
    def of(varied: frozenset[tuple[str, int]]) -> float:
        return quantity(space.plan({**first, **dict(varied)}))

    return lambda chosen: of(frozenset((name, choice) for name, choice in chosen.items() if choice))
