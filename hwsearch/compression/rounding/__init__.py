"""Rounding by what linears see: scales and numbers chosen by the error that they leave in the outputs."""

from hwsearch.compression.rounding.calibrated import CalibratedWeights

__all__ = ["CalibratedWeights"]
