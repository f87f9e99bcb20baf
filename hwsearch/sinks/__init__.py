"""Attention sinks along a denoising trajectory, and the kept shares made of them."""

from hwsearch.sinks.capture import Capture
from hwsearch.sinks.profile import SinkProfile, calibrate_sinks
from hwsearch.sinks.recorder import SinkRecorder, SinkStatistics
from hwsearch.sinks.trajectory import record_bundle, record_sinks, record_tokens

__all__ = [
    "Capture",
    "SinkProfile",
    "SinkRecorder",
    "SinkStatistics",
    "calibrate_sinks",
    "record_bundle",
    "record_sinks",
    "record_tokens",
]
