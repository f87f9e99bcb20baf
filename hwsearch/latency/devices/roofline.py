"""A device in a few numbers, for devices that nobody here has timed: a roofline with a start-up term.

An operator takes

    bytes / bandwidth  +  operations beyond the first row / rate  +  operator_us

The terms are added, not maximised: published sweeps over rows fit the sum well and the maximum
badly (`studies/published-devices`). Bandwidth and `operator_us` come from passes of one row, so that
row's arithmetic is in them already; a format's rate comes from passes of many rows. The classical
roofline (Williams, Waterman, Patterson 2009) is the case ``operator_us = 0`` under a maximum.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from hwsearch.errors import MissingShapeError, TableError
from hwsearch.latency.operators import OpKey
from hwsearch.plan import WeightFormat
from hwsearch.schema import Frozen

#: Bytes of an activation, key or value: 16-bit floats.
ELEMENT_BYTES = 2

#: A positive time, size or rate, of which any product is finite.
Positive = Annotated[float, Field(ge=1e-9, le=1e12)]


class FormatRate(Frozen):
    """How a device holds, and multiplies by, weights of one format.

    Attributes:
        stands_for: the format's name in the device's own runtime, e.g. ``Q4_0``.
        bytes_per_weight: scales included.
        tflops: effective rate at many rows, 10^12 operations a second; a multiplication and an
            addition count as two.
    """

    stands_for: str
    bytes_per_weight: Positive
    tflops: Positive


class Roofline(Frozen):
    """Costs of operators from a few fitted numbers. Satisfies `Costs`.

    Idea: bytes that move and operations that are done bound an operator's time, whatever the
    kernel. Steps: bytes by bandwidth, operations beyond the first row by the format's rate, and a
    constant, added up (see the module). Limits: one effective bandwidth for cache and memory alike, and
    attention at the rate of the least compressed format; how far whole passes are off is what a
    device's `checks` say. Source: Williams, Waterman and Patterson (CACM 52(4), 2009).

    Attributes:
        bandwidth_gbps: effective, 10^9 bytes a second.
        operator_us: what every operator costs beside that: its launch, and on CPUs what
            unpacking weights costs.
        rates: by format; the least compressed one's also times attention.
    """

    bandwidth_gbps: Positive
    operator_us: Annotated[float, Field(ge=0, le=1e9)]
    rates: Annotated[dict[WeightFormat, FormatRate], Field(min_length=1)]

    def formats(self) -> list[WeightFormat]:
        """Formats that have a rate, least compressed first."""
        return [fmt for fmt in WeightFormat if fmt in self.rates]

    def cost_us(self, key: OpKey) -> float:
        """Microseconds of one operator. Raises `MissingShapeError` for a format without a rate."""
        return self.parts(key).total_us

    def spread(self, key: OpKey) -> float:
        """0: how far a roofline may be off is what its device's checks say of whole passes."""
        return 0.0

    def parts(self, key: OpKey) -> Parts:
        """The three terms of one operator. Raises `MissingShapeError` as `cost_us` does."""
        rate = self._rate(key)
        memory_us = moved_bytes(key, rate.bytes_per_weight) / self.bandwidth_gbps / 1e3
        return Parts(memory_us, operations(key) / rate.tflops / 1e6, self.operator_us)

    def _rate(self, key: OpKey) -> FormatRate:
        if key.kind != "linear":
            return self.rates[self.formats()[0]]
        if key.format not in self.rates:
            raise MissingShapeError(
                f"the device's roofline has no rate for {key}; its formats are "
                f"{', '.join(self.formats())}"
            )
        return self.rates[WeightFormat(key.format)]


@dataclass(frozen=True)
class Parts:
    """Microseconds by cause."""

    memory_us: float = 0.0
    compute_us: float = 0.0
    overhead_us: float = 0.0

    @property
    def total_us(self) -> float:
        """All of it."""
        return self.memory_us + self.compute_us + self.overhead_us

    @property
    def binding(self) -> str:
        """The largest cause: ``memory``, ``compute`` or ``overhead``."""
        causes = {
            "memory": self.memory_us,
            "compute": self.compute_us,
            "overhead": self.overhead_us,
        }
        return max(causes, key=causes.__getitem__)


def parts_of(roofline: Roofline, operators: Mapping[OpKey, float]) -> Parts:
    """A pass by cause."""
    each = [(roofline.parts(key), count) for key, count in operators.items()]
    return Parts(
        sum(part.memory_us * count for part, count in each),
        sum(part.compute_us * count for part, count in each),
        sum(part.overhead_us * count for part, count in each),
    )


def moved_bytes(key: OpKey, bytes_per_weight: float) -> float:
    """Bytes that an operator reads and writes."""
    rows, inner, outer = key.rows, key.in_features, key.out_features
    if key.kind == "linear":
        return inner * outer * bytes_per_weight + rows * (inner + outer) * ELEMENT_BYTES
    if key.kind.startswith("attention"):
        probabilities = rows * inner * key.heads if key.kind == "attention-mass" else 0
        return (2 * rows * outer + 2 * inner * key.kv_size + probabilities) * ELEMENT_BYTES
    if key.kind == "mean-query":
        return (rows * outer + inner * key.kv_size + inner) * ELEMENT_BYTES
    streams = {"norm": 2, "rotary": 2, "swiglu": 3, "predict": 1}[key.kind]
    return streams * rows * inner * ELEMENT_BYTES


def operations(key: OpKey) -> float:
    """Operations of an operator beyond its first row; none where arithmetic is negligible."""
    rows = key.rows - 1
    if key.kind == "linear":
        return 2.0 * rows * key.in_features * key.out_features
    if key.kind.startswith("attention"):
        return 4.0 * rows * key.in_features * key.out_features
    return 0.0


@dataclass(frozen=True)
class TimedPass:
    """A pass, or several in a row, that somebody timed.

    Attributes:
        moved_bytes: bytes read and written.
        operations: operations beyond the first row of every pass.
        operators: operators run.
        ms: how long it took.
    """

    moved_bytes: float
    operations: float
    operators: int
    ms: float

    @classmethod
    def of(
        cls, operators: Counter[OpKey], bytes_per_weight: Mapping[str, float], ms: float
    ) -> TimedPass:
        """A pass of these operators; bytes of a weight by the format that its key names."""
        return cls(
            sum(
                n * moved_bytes(k, bytes_per_weight.get(k.format, 0)) for k, n in operators.items()
            ),
            sum(n * operations(k) for k, n in operators.items()),
            sum(operators.values()),
            ms,
        )

    def predict_ms(self, bandwidth_gbps: float, operator_us: float, tflops: float) -> float:
        """Milliseconds of the pass on a device of these numbers."""
        return (
            self.moved_bytes / bandwidth_gbps / 1e6
            + self.operations / tflops / 1e9
            + self.operators * operator_us / 1e3
        )


def fit_memory(passes: Sequence[TimedPass]) -> tuple[float, float]:
    """Bandwidth in GB/s and `operator_us` from passes of one row, least wrong in relative terms.

    Raises:
        TableError: fewer than two passes, or they do not grow with the bytes they move.
    """
    from scipy.optimize import nnls

    if len(passes) < 2:
        raise TableError(f"bandwidth and start-up cost need two passes; got {len(passes)}")
    design = np.array([[p.moved_bytes / p.ms / 1e6, p.operators / p.ms / 1e3] for p in passes])
    (per_gbps, operator_us), _ = nnls(design, np.ones(len(passes)))
    if per_gbps == 0:
        raise TableError("passes that move more bytes must take longer; these do not")
    return float(1 / per_gbps), float(operator_us)


def fit_rate(timed: TimedPass, bandwidth_gbps: float, operator_us: float) -> float:
    """Effective rate in 10^12 operations a second: what memory and start-up leave of a pass.

    Raises:
        TableError: they leave nothing.
    """
    left_ms = timed.ms - timed.predict_ms(bandwidth_gbps, operator_us, np.inf)
    if left_ms <= 0 or timed.operations == 0:
        raise TableError(f"memory and start-up alone take the {timed.ms:.2f} ms of this pass")
    return float(timed.operations / left_ms / 1e9)
