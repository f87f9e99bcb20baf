"""Attention sinks along a denoising trajectory, and the kept shares made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.lazy import lazy_names

if TYPE_CHECKING:
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

__getattr__ = lazy_names(
    __name__,
    {
        "hwsearch.sinks.capture": ["Capture"],
        "hwsearch.sinks.profile": ["SinkProfile", "calibrate_sinks"],
        "hwsearch.sinks.recorder": ["SinkRecorder", "SinkStatistics"],
        "hwsearch.sinks.trajectory": ["record_bundle", "record_sinks", "record_tokens"],
    },
)
