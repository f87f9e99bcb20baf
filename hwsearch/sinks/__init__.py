"""Attention sinks along a denoising trajectory, and the kept shares made of them."""

from hwsearch.sinks.profile import SinkProfile, calibrate_sinks

__all__ = ["SinkProfile", "calibrate_sinks"]
