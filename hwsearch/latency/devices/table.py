"""A latency table: raw timings of operators on one device with one runtime.

Raw samples are kept and statistics are derived, so a reader may ask the same file for another
percentile later.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from hwsearch.errors import MissingShapeError
from hwsearch.latency.devices.interpolation import Interpolator, span
from hwsearch.latency.devices.table_csv import DIGITS, read_samples, write_samples
from hwsearch.latency.operators import OpKey
from hwsearch.plan import WeightFormat

Samples = Mapping[OpKey, tuple[tuple[float, ...], ...]]


@dataclass(frozen=True, eq=False)
class LatencyTable:
    """Samples by operator. Satisfies `Costs`.

    Idea: noise on a shared machine only ever adds time, in bursts, so medians are kept and never means; a
    median of sessions, because where memory comes to lie moves a whole session. Shapes between
    rows are interpolated (`Interpolator`), shapes beyond them refused.

    Attributes:
        samples: for each operator its timings in microseconds, session by session.
        source: where the table was read from, for messages.
    """

    samples: Samples
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
        """Microseconds of one operator: its row, or between rows on both sides of it.

        Raises:
            MissingShapeError: it has no row, and rows do not surround it.
        """
        found = self.p50_us.get(key)
        if found is None:
            found = self._grid.cost_us(key)
        if found is None:
            raise MissingShapeError(
                f"{self.source} has no row for {key} and none on both sides of it "
                f"({span(self.samples, key)}); measure it with: "
                f"hwsearch profile --device NAME --shapes-of MODEL"
            )
        return found

    def spread(self, key: OpKey) -> float:
        """Standard error of `cost_us` as a share of it.

        From the scatter of the sessions' medians where there are several, else from that of the
        samples. An operator between rows takes the median of all rows of its kind.
        """
        found = self._spreads.get(key)
        return self._kind_spreads.get(key.kind, 0.0) if found is None else found

    @cached_property
    def _grid(self) -> Interpolator:
        return Interpolator(self.p50_us)

    @cached_property
    def _spreads(self) -> dict[OpKey, float]:
        return {key: _relative_error(sessions) for key, sessions in self.samples.items()}

    @cached_property
    def _kind_spreads(self) -> dict[str, float]:
        kinds = {key.kind for key in self.samples}
        return {
            kind: float(np.median([s for key, s in self._spreads.items() if key.kind == kind]))
            for kind in kinds
        }

    def count(self) -> int:
        """Samples in all."""
        return sum(len(session) for sessions in self.samples.values() for session in sessions)

    def total_us(self) -> float:
        """Microseconds of all samples, each as a CSV keeps it."""
        each = (part for sessions in self.samples.values() for part in sessions)
        return round(math.fsum(round(sample, DIGITS) for part in each for sample in part), DIGITS)

    def formats(self) -> list[WeightFormat]:
        """Weight formats that the device's runtime has timings for."""
        timed = {key.format for key in self.samples if key.kind == "linear"}
        return [fmt for fmt in WeightFormat if fmt.value in timed]

    def write(self, path: Path) -> None:
        """Write the table as CSV, one sample a row; see `hwsearch.latency.devices.table_csv`."""
        write_samples(self.samples, path)

    @classmethod
    def read(cls, path: Path) -> LatencyTable:
        """Read a table from CSV. Raises `TableError`, naming file and row."""
        table = cls(read_samples(path), str(path))
        table.derive()
        return table

    def derive(self) -> None:
        """Derive statistics now, so that the first prediction is as quick as the next."""
        _ = self.p50_us, self._grid, self._kind_spreads


#: The standard error of a median is this many times that of a mean, for normal samples.
MEDIAN_ERROR = 1.2533


def _relative_error(sessions: tuple[tuple[float, ...], ...]) -> float:
    medians = [float(np.median(session)) for session in sessions]
    values = medians if len(medians) > 1 else sessions[0]
    if len(values) < 2:
        return 0.0
    error = MEDIAN_ERROR * np.std(values, ddof=1) / np.sqrt(len(values))
    return float(error / np.median(medians))
