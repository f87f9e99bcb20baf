"""A latency table: raw timings of operators on one device with one runtime.

One CSV row is one sample. Raw samples are kept and statistics are derived, so a reader may ask
the same file for another percentile later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hwsearch.errors import MissingShapeError, TableError
from hwsearch.latency.operators import KINDS, OpKey
from hwsearch.plan import WeightFormat

KEY_COLUMNS = [field.name for field in fields(OpKey)]
COLUMNS = [*KEY_COLUMNS, "session", "sample_us"]
_SIZES = ["rows", "in_features", "out_features", "heads", "session"]


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """Samples by operator.

    Attributes:
        samples: for each operator its timings in microseconds, session by session.
        source: where the table was read from, for messages.
    """

    samples: Mapping[OpKey, tuple[tuple[float, ...], ...]]
    source: str = "(in memory)"

    @cached_property
    def p50_us(self) -> dict[OpKey, float]:
        """Median over sessions of each session's median, by operator."""
        return {
            key: float(np.median([np.median(session) for session in sessions]))
            for key, sessions in self.samples.items()
        }

    def percentile_us(self, key: OpKey, percent: float) -> float:
        """A percentile of all samples of one operator, which must be a row of the table."""
        return float(np.percentile(np.concatenate(self.samples[key]), percent))

    def cost_us(self, key: OpKey) -> float:
        """Microseconds of one operator: its row, or between two rows that differ in one size.

        Only attention over keys and operators over rows are interpolated, linearly and never
        beyond the measured range.

        Raises:
            MissingShapeError: no row and no two rows to interpolate between.
        """
        found = self.p50_us.get(key)
        if found is not None:
            return found
        for size in ("in_features", "rows") if key.kind.startswith("attention") else ("rows",):
            between = self._interpolate(key, size)
            if between is not None:
                return between
        raise MissingShapeError(
            f"{self.source} has no row for {key} and none on both sides of it; "
            f"measure it with: hwsearch profile --device NAME --model MODEL"
        )

    def _interpolate(self, key: OpKey, size: str) -> float | None:
        points = sorted(self._series.get((size, _without(key, size)), ()))
        wanted = getattr(key, size)
        if not points or not points[0][0] <= wanted <= points[-1][0]:
            return None
        sizes, costs = zip(*points, strict=True)
        return float(np.interp(wanted, sizes, costs))

    @cached_property
    def _series(self) -> dict[tuple[str, tuple[object, ...]], list[tuple[int, float]]]:
        """Rows that differ in one size only, as (size, cost) points."""
        series: dict[tuple[str, tuple[object, ...]], list[tuple[int, float]]] = {}
        for key, cost in self.p50_us.items():
            for size in ("in_features", "rows"):
                line = series.setdefault((size, _without(key, size)), [])
                line.append((getattr(key, size), cost))
        return series

    def formats(self) -> list[WeightFormat]:
        """Weight formats that the device's runtime has timings for."""
        timed = {key.format for key in self.samples if key.kind == "linear"}
        return [fmt for fmt in WeightFormat if fmt.value in timed]

    def write(self, path: Path) -> None:
        """Write the table as CSV, one sample a row."""
        rows = [
            (*(getattr(key, column) for column in KEY_COLUMNS), session, round(sample, 3))
            for key in sorted(self.samples)
            for session, samples in enumerate(self.samples[key])
            for sample in samples
        ]
        pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)

    @classmethod
    def read(cls, path: Path) -> LatencyTable:
        """Read a table from CSV.

        Raises:
            TableError: the file cannot be read, columns are wrong, or a row is impossible; the
                message names file and row.
        """
        try:
            frame = pd.read_csv(path)
        except (OSError, ValueError) as error:
            raise TableError(f"cannot read latency table {path}: {error}") from error
        _check(frame, path)
        samples: dict[OpKey, tuple[tuple[float, ...], ...]] = {}
        for values, group in frame.groupby(KEY_COLUMNS, sort=False):
            by_session = group.groupby("session")["sample_us"]
            samples[_key(values)] = tuple(tuple(part) for _, part in by_session)
        return cls(samples, str(path))


def _without(key: OpKey, size: str) -> tuple[object, ...]:
    return tuple(getattr(key, column) for column in KEY_COLUMNS if column != size)


def _key(values: Any) -> OpKey:
    """Key of a row's columns as Python values (pandas hands out its own integers)."""
    kind, rows, in_features, out_features, heads, fmt = values
    return OpKey(kind, int(rows), int(in_features), int(out_features), int(heads), fmt)


def _check(frame: pd.DataFrame, path: Path) -> None:
    if list(frame.columns) != COLUMNS:
        raise TableError(
            f"{path}: columns must be {','.join(COLUMNS)}; got {','.join(map(str, frame.columns))}"
        )
    if frame.empty:
        raise TableError(f"{path}: no rows")
    for column in [*_SIZES, "sample_us"]:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            row = int(pd.to_numeric(frame[column], errors="coerce").isna().to_numpy().argmax())
            _refuse(path, row, f"{column} must be a number", frame[column][row])
    for column, good, rule in _rules(frame):
        if not good.all():
            row = int((~good).to_numpy().argmax())
            _refuse(path, row, rule, frame[column][row])


def _rules(frame: pd.DataFrame) -> Iterator[tuple[str, pd.Series, str]]:
    """Column, which of its rows are good, and what makes a row good."""
    kinds, formats = list(KINDS), [fmt.value for fmt in WeightFormat]
    yield "kind", frame["kind"].isin(kinds), f"kind must be one of {', '.join(kinds)}"
    yield "format", frame["format"].isin(formats), f"format must be one of {', '.join(formats)}"
    sample = frame["sample_us"].between(0, 1e9, inclusive="neither")
    yield "sample_us", sample, "sample_us must lie between 0 and 1e9 microseconds"
    for size in _SIZES:
        whole = (frame[size] >= 0) & (frame[size] % 1 == 0)
        yield size, whole, f"{size} must be a whole number, 0 or more"


def _refuse(path: Path, row: int, rule: str, value: object) -> None:
    raise TableError(f"{path}, row {row + 2}: {rule}; got {value!r}")
