"""Plan + device -> milliseconds: tables, measuring, calibration, prediction."""

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
