"""Plan + device -> milliseconds: tables, measuring, calibration, prediction."""

from hwsearch.latency.device import Device, DeviceInfo, Provenance, load_device
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.predict import Latency, Predictor
from hwsearch.latency.table import LatencyTable

__all__ = [
    "Device",
    "DeviceInfo",
    "Latency",
    "LatencyTable",
    "OpKey",
    "Predictor",
    "Provenance",
    "Workload",
    "load_device",
]
