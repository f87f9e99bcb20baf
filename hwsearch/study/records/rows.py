"""Finished trials as rows, and those of them that no other beats.

All of it without pandas, which takes longer to load than a front takes to print.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from hwsearch.plan import CompressionPlan

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class TrialRow:
    """A finished trial.

    Attributes:
        number: its number.
        loss: what its plan loses, in the loss's own unit.
        generation_ms: predicted time of its plan.
        generation_joules: predicted energy; NaN where the device's power is unknown.
        size_bytes: bytes of its weights.
        passes: of a generation, in the mean over problems.
        feasible: whether it meets the target and the limits.
        uniform: whether its plan treats all layers alike.
        plan: the plan.
    """

    number: int
    loss: float
    generation_ms: float
    generation_joules: float
    size_bytes: int
    passes: float
    feasible: bool
    uniform: bool
    plan: CompressionPlan

    def values(self) -> dict[str, Any]:
        """Its fields by name, in their order."""
        return dict(vars(self))


@dataclass(frozen=True)
class FrontRow(TrialRow):
    """A trial that no other beats in both loss and latency.

    Attributes:
        uniform_loss: least loss of a uniform plan tried that takes no longer; NaN if there is none.
        noise: the loss's noise floor; NaN where it was not measured.
        tied: numbers of the other trials of the front whose losses it cannot tell apart, fastest first.
        tied_choice: the fastest of those and the trial itself; None where nothing is tied.
    """

    uniform_loss: float
    noise: float
    tied: list[int]
    tied_choice: int | None


def front_of(rows: Iterable[TrialRow], noise: float | None) -> list[FrontRow]:
    """The rows that no other beats in both loss and latency, fastest first.

    Args:
        rows: finished trials.
        noise: how far rounding alone moves a loss, in its unit; None where that was not measured.
    """
    best = uniform = math.inf
    front: list[tuple[TrialRow, float]] = []
    for row in sorted(rows, key=lambda row: (row.generation_ms, row.loss)):
        uniform = min(uniform, row.loss) if row.uniform else uniform
        if row.loss < best:
            best = row.loss
            front.append((row, math.nan if math.isinf(uniform) else uniform))
    together = tied_together([row for row, _ in front], noise)
    return [
        FrontRow(
            **row.values(),
            uniform_loss=least,
            noise=math.nan if noise is None else noise,
            tied=[number for number in group if number != row.number],
            tied_choice=group[0] if len(group) > 1 else None,
        )
        for (row, least), group in zip(front, together, strict=True)
    ]


def tied_together(front: Sequence[TrialRow], noise: float | None) -> list[list[int]]:
    """For each row the numbers of all whose losses are within the noise of its own, itself among them."""
    near = -1.0 if noise is None else noise
    return [
        [other.number for other in front if other is row or abs(other.loss - row.loss) <= near]
        for row in front
    ]


#: Types of columns where there are no rows: pandas would take one of no type for names, not for a mask.
_EMPTY: Final[dict[str, Any]] = {
    **dict.fromkeys(("loss", "generation_ms", "generation_joules", "size_bytes", "passes"), float),
    **dict.fromkeys(("uniform_loss", "noise"), float),
    **dict.fromkeys(("feasible", "uniform"), bool),
}


def frame_of(rows: Sequence[TrialRow], kind: type[TrialRow] = TrialRow) -> pd.DataFrame:
    """Rows of a kind as a table, a column a field."""
    import pandas as pd

    columns = {field.name: [getattr(row, field.name) for row in rows] for field in fields(kind)}
    # None among numbers would make floats of them
    types: dict[str, Any] = {"tied_choice": object} if rows else _EMPTY
    return pd.DataFrame(
        {
            name: pd.Series(values, dtype=types.get(name, None if rows else object))
            for name, values in columns.items()
        }
    )
