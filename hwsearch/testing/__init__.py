"""Contracts and tiny denoisers for tests, shipped for whoever adds a device, format or model."""

from hwsearch.testing.denoiser import DenoiserContract
from hwsearch.testing.format import FormatContract

__all__ = ["DenoiserContract", "FormatContract"]
