"""The exactly solvable part of the problem: quantities that are sums over the choices of a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np

from hwsearch.study.choices.cost_tables import CostTable, CostTables
from hwsearch.study.choices.search_space import DECODING, WHOLE

Table = Mapping[str, Mapping[int, float]]


def cheapest(cost: Table, limited: Table, room: float | None) -> dict[str, int] | None:
    """The choices of least total `cost` whose total of `limited` is at most `room`.

    An integer program, solved by HiGHS: one binary variable a choice, one choice a parameter.

    Args:
        cost: cost of each choice of each parameter.
        limited: what is limited, of the same choices.
        room: the limit; None sets none.

    Returns:
        Choices by parameter, or None if none is within the limit.
    """
    if room is None:
        return {name: min(costs, key=lambda c: (costs[c], c)) for name, costs in cost.items()}
    # most of what scipy takes to load
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_array

    keys = [(name, choice) for name, costs in cost.items() for choice in costs]
    group = {name: row for row, name in enumerate(cost)}
    rows = [group[name] for name, _ in keys]
    one_each = csr_array((np.ones(len(keys)), (rows, range(len(keys)))))
    weight = np.array([limited[name][choice] for name, choice in keys])
    scale = max(1.0, float(np.abs(weight).max()))
    solved = milp(
        np.array([cost[name][choice] for name, choice in keys]),
        integrality=np.ones(len(keys), dtype=np.intp),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(weight[None] / scale, -np.inf, room / scale + 1e-12),
        ],
    )
    if solved.x is None:
        return None
    return {name: choice for (name, choice), used in zip(keys, solved.x, strict=True) if used > 0.5}


def cheapest_of(cost: CostTables, limited: CostTables, room: float | None) -> dict[str, int] | None:
    """The choices of least `cost` that add at most `room` of `limited` to the first plan, exactly.

    Parameters that act together become one parameter of joint choices; what the whole plan shares is
    tried choice by choice.

    Returns:
        Choices by parameter, or None if none is within the limit.
    """
    if cost.is_additive and limited.is_additive:
        return cheapest(cost.by_choice, limited.by_choice, room)
    sizes = {name: len(found) for name, found in {**limited.by_choice, **cost.by_choice}.items()}
    shared = [name for name in sizes if _of_whole_plan(name)]
    blocks = _blocks([*cost.tables, *limited.tables], shared)
    best: tuple[float, dict[str, int]] | None = None
    for row in product(*(range(sizes[name]) for name in shared)):
        fixed = dict(zip(shared, row, strict=True))
        left = None if room is None else room - _outside(limited, fixed)
        costs, limits = (_joint(tables, blocks, sizes, fixed) for tables in (cost, limited))
        found = cheapest(costs, limits, left)
        if found is None:
            continue
        chosen = fixed | {
            name: choice
            for key, picked in found.items()
            for name, choice in zip(blocks[key], _unravel(picked, blocks[key], sizes), strict=True)
        }
        total = cost.of(chosen)
        if best is None or total < best[0]:
            best = total, chosen
    return None if best is None else {name: best[1][name] for name in sizes}


def _blocks(tables: Sequence[CostTable], shared: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Parameters that act together, by the first of them; those that the plan shares left out."""
    found: list[set[str]] = []
    for table in tables:
        names = set(table.names) - set(shared)
        touching = [block for block in found if block & names]
        found = [block for block in found if not block & names]
        found += [names.union(*touching)] if names else []
    return {min(block): tuple(sorted(block)) for block in found}


def _joint(
    tables: CostTables,
    blocks: Mapping[str, tuple[str, ...]],
    sizes: Mapping[str, int],
    fixed: Mapping[str, int],
) -> dict[str, dict[int, float]]:
    """What the joint choices of each block add, by the number of the choice."""
    table = {}
    for key, names in blocks.items():
        grid = np.indices([sizes[name] for name in names]).reshape(len(names), -1).T
        rows = np.concatenate((grid, np.tile(list(fixed.values()), (len(grid), 1))), axis=1)
        own = [table for table in tables.tables if set(table.names) & set(names)]
        added = CostTables(0.0, tuple(own)).added([*names, *fixed], rows.astype(np.intp))
        table[key] = dict(enumerate(added.tolist()))
    return table


def _outside(tables: CostTables, fixed: Mapping[str, int]) -> float:
    """What the shared choices add by themselves."""
    own = tuple(table for table in tables.tables if set(table.names) <= set(fixed))
    return CostTables(0.0, own).of(fixed) if own else 0.0


def _unravel(number: int, names: Sequence[str], sizes: Mapping[str, int]) -> list[int]:
    return [int(i) for i in np.unravel_index(number, [sizes[name] for name in names])]


def _of_whole_plan(name: str) -> bool:
    """Whether a parameter is one that the whole plan shares and its layers' costs depend on."""
    return name.startswith(WHOLE) or name == DECODING
