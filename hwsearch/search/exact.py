"""The exactly solvable part of the problem: quantities that are sums over the choices of a plan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

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
        return {name: min(terms, key=lambda c: (terms[c], c)) for name, terms in cost.items()}
    keys = [(name, choice) for name, terms in cost.items() for choice in terms]
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
