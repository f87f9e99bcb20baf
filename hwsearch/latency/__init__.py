"""Plan + device -> milliseconds: tables, measuring, calibration, prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.lazy import lazy_names

if TYPE_CHECKING:
    from hwsearch.latency.devices.device import Device, DeviceInfo, Provenance, load_device
    from hwsearch.latency.devices.table import LatencyTable
    from hwsearch.latency.operators import OpKey, Workload
    from hwsearch.latency.prediction.predictor import Predictor
    from hwsearch.latency.prediction.protocol import LatencyPredictor
    from hwsearch.latency.prediction.uncertainty import Latency

__all__ = [
    "Device",
    "DeviceInfo",
    "Latency",
    "LatencyPredictor",
    "LatencyTable",
    "OpKey",
    "Predictor",
    "Provenance",
    "Workload",
    "load_device",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hwsearch.latency.devices.device": ["Device", "DeviceInfo", "Provenance", "load_device"],
        "hwsearch.latency.devices.table": ["LatencyTable"],
        "hwsearch.latency.operators": ["OpKey", "Workload"],
        "hwsearch.latency.prediction.predictor": ["Predictor"],
        "hwsearch.latency.prediction.protocol": ["LatencyPredictor"],
        "hwsearch.latency.prediction.uncertainty": ["Latency"],
    },
)
