"""What a study's trials say, as arrays; read incrementally, nothing kept that storage lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from hwsearch.study.records.trial_record import estimate_of, seen_ms
from hwsearch.study.samplers.additive.encoding import ChoiceSpace, Floats, Rows

COUNTED = 4096  # plans whose choices are counted together


@dataclass(frozen=True)
class Evidence:
    """Finished and running trials of one study.

    Attributes:
        rows: plans of the finished trials, and of pruned ones with an estimate, [n, groups].
        values: objectives to minimise, [n, objectives]; infinities become the worst finite value.
        spread: standard deviation of the first value, [n]; 0 for finished trials.
        totals: predicted milliseconds of each trial by the passes that it was seen to make, [n]; NaN
            where it keeps none.
        constraints: value of each named constraint, [n] each; NaN where a trial did not set it.
        pending: plans now being evaluated, [m, groups].
        unknown: earlier running trials that have not shown their plan yet.
        seen: every plan that need not be proposed again: finished, pruned, failed or running.
        gram: sum over finished trials of one-hot outer products, [columns, columns].
    """

    rows: Rows
    values: Floats
    spread: Floats
    totals: Floats
    constraints: dict[str, Floats]
    pending: Rows
    unknown: int
    seen: frozenset[tuple[int, ...]] | set[tuple[int, ...]]
    gram: Floats


@dataclass
class Ledger:
    """Reads trials once each. Made for one study and one space; thrown away with either."""

    space: ChoiceSpace
    directions: Sequence[StudyDirection]
    done: set[int] = field(default_factory=set)
    seen: set[tuple[int, ...]] = field(default_factory=set)
    numbers: list[int] = field(default_factory=list)
    rows: list[tuple[int, ...]] = field(default_factory=list)
    values: list[tuple[float, ...]] = field(default_factory=list)
    spread: list[float] = field(default_factory=list)
    totals: list[float] = field(default_factory=list)
    constraints: list[dict[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._gram = np.zeros((self.space.columns, self.space.columns))
        self._counted = 0

    def read(self, trials: Sequence[FrozenTrial], number: int) -> Evidence:
        """Everything known when trial `number` is about to be proposed."""
        pending, unknown = [], 0
        for trial in trials:
            if trial.number in self.done or trial.number == number:
                continue
            row = self.space.encode(trial.params)
            if trial.state.is_finished():
                self._finish(trial, row)
            elif row is not None:
                pending.append(row)
            elif trial.state == TrialState.RUNNING and trial.number < number:
                unknown += 1
        return self._evidence(pending, unknown)

    def _finish(self, trial: FrozenTrial, row: tuple[int, ...] | None) -> None:
        self.done.add(trial.number)
        if row is None:
            return
        self.seen.add(row)
        values, spread = _observed(trial)
        if values is None or np.isnan(values).any():
            return
        self.spread.append(spread)
        self.totals.append(seen_ms(trial))
        self.numbers.append(trial.number)
        self.rows.append(row)
        signs = [-1.0 if d == StudyDirection.MAXIMIZE else 1.0 for d in self.directions]
        self.values.append(tuple(s * v for s, v in zip(signs, values, strict=True)))
        self.constraints.append(dict(trial.constraints))

    def _evidence(self, pending: list[tuple[int, ...]], unknown: int) -> Evidence:
        shape = (-1, len(self.space.names))
        order = np.argsort(self.numbers, kind="stable")
        rows = np.array(self.rows, dtype=np.intp).reshape(shape)
        self._count(rows[self._counted :])
        names = sorted({name for c in self.constraints for name in c})
        table = {n: np.array([c.get(n, np.nan) for c in self.constraints]) for n in names}
        values = np.array(self.values, dtype=float).reshape(len(rows), len(self.directions))
        return Evidence(
            rows=rows[order],
            values=_finite(values)[order],
            spread=np.array(self.spread, dtype=float)[order],
            totals=np.array(self.totals, dtype=float)[order],
            constraints={name: column[order] for name, column in table.items()},
            pending=np.array(pending, dtype=np.intp).reshape(shape),
            unknown=unknown,
            seen=self.seen | set(pending) if pending else self.seen,
            gram=self._gram,
        )

    def _count(self, new: Rows) -> None:
        for start in range(0, len(new), COUNTED):
            # counts of so few plans are exact in single precision, at half the work
            hot = self.space.indicators(new[start : start + COUNTED], np.float32)
            self._gram += hot.T @ hot
        self._counted += len(new)


def _observed(trial: FrozenTrial) -> tuple[Sequence[float] | None, float]:
    """Values that a trial tells, and the standard deviation of the first."""
    if trial.state == TrialState.COMPLETE:
        return trial.values, 0.0
    return estimate_of(trial) or (None, 0.0)


def _finite(values: Floats) -> Floats:
    """Infinities replaced by the worst or best finite value of their column."""
    out = values.copy()
    for column in out.T:
        finite = column[np.isfinite(column)]
        low, high = (finite.min(), finite.max()) if len(finite) else (0.0, 0.0)
        np.clip(column, low, high, out=column)
    return out
