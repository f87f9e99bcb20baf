"""Contracts and tiny denoisers for tests, shipped for whoever adds a device, format or model."""

from hwsearch.testing.denoiser import DenoiserContract

__all__ = ["DenoiserContract"]
