"""A device whose operators cost what a formula says: no clock, the same everywhere."""

from __future__ import annotations

from pathlib import Path

from hwsearch.denoisers.geometry import Geometry
from hwsearch.latency.devices.device import Device, DeviceInfo, Provenance
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.timing.operator_times import Kept, operators_of

#: Nanoseconds of a thousand multiply-adds in each format.
SPEED = {"fp32": 100.0, "w8": 80.0, "w4": 70.0, "w8a8": 40.0}


def formula_us(key: OpKey) -> float:
    """Microseconds of an operator: multiply-adds for products and attention, elements otherwise."""
    if key.kind == "linear":
        return key.rows * key.in_features * key.out_features * SPEED[key.format] / 1e6
    if key.kind.startswith("attention"):
        return 2.0 * key.rows * key.in_features * key.out_features * SPEED["fp32"] / 1e6
    return key.rows * key.in_features / 1e4


def formula_device(
    geometry: Geometry, workload: Workload, name: str = "formula", kept: Kept | None = None
) -> Device:
    """A device that has timed every operator of a model, by `formula_us`; with `kept`, of pruned ones."""
    keys = operators_of(geometry, workload, kept=kept)
    samples = {key: ((formula_us(key),) * 3,) for key in keys}
    info = DeviceInfo(
        name=name,
        provenance=Provenance.MODELLED,
        description="a formula, for tests",
        runtime="formula",
        threads=1,
    )
    return Device(info, LatencyTable(samples, name), Path(name))
