"""Why a pass takes as long as it does on a device that was timed: a roofline fitted to its table.

The table says how long, not why. Relative non-negative least squares explains its rows by bytes
moved, operations by format, and a constant an operator: time that grows with bytes is called memory (a cache,
where weights fit into one), time that grows with operations compute, and the rest overhead.

Limits: it names the largest of three causes and predicts nothing; times come from the table itself.
Source: the roofline's terms (`hwsearch.latency.devices.roofline`), fitted by non-negative least squares
(Lawson and Hanson 1974).
"""

from __future__ import annotations

import numpy as np

from hwsearch.formats.catalog import format_of
from hwsearch.latency.devices.device import Device
from hwsearch.latency.devices.roofline import FormatRate, Roofline, moved_bytes, operations
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import OpKey
from hwsearch.plan import WeightFormat

#: Stands for "costs nothing that the fit could see" in 10^9 bytes or 10^12 operations a second.
_UNBOUND = 1e9


def roofline_behind(device: Device) -> Roofline | None:
    """A device's own roofline, or one fitted to its table; None where it has neither."""
    if device.info.roofline is not None:
        return device.info.roofline
    return fit_table(device.costs) if isinstance(device.costs, LatencyTable) else None


def fit_table(table: LatencyTable) -> Roofline | None:
    """Bandwidth, rates and start-up cost that explain a table best; None for fewer rows than those."""
    from scipy.optimize import nnls

    formats = table.formats()
    keys = [k for k in table.p50_us if k.kind != "linear" or k.format in formats]
    if len(keys) < len(formats) + 2:
        return None
    costs = np.array([table.p50_us[key] for key in keys])
    design = np.array([_row(key, formats) for key in keys]) / costs[:, None]
    found, _ = nnls(design, np.ones(len(keys)))
    per_byte, start_us, *per_operation = found
    return Roofline(
        bandwidth_gbps=_inverse(per_byte * 1e3),
        operator_us=float(start_us),
        rates={
            fmt: FormatRate(
                stands_for=fmt.value,
                bytes_per_weight=format_of(fmt).bytes_per_weight,
                tflops=_inverse(cost * 1e6),
            )
            for fmt, cost in zip(formats, per_operation, strict=True)
        },
    )


def _row(key: OpKey, formats: list[WeightFormat]) -> list[float]:
    """Bytes, one operator, and operations in the column of the operator's format."""
    fmt = WeightFormat(key.format) if key.kind == "linear" else formats[0]
    rates = [operations(key) if fmt is column else 0.0 for column in formats]
    return [moved_bytes(key, format_of(fmt).bytes_per_weight), 1.0, *rates]


def _inverse(cost: float) -> float:
    return _UNBOUND if cost <= 1 / _UNBOUND else float(1 / cost)
