"""Rounding by what linears see: scales and numbers chosen by the error that they leave in the outputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.lazy import lazy_names

if TYPE_CHECKING:
    from hwsearch.compression.rounding.calibrated import CalibratedWeights

__all__ = ["CalibratedWeights"]

__getattr__ = lazy_names(
    __name__,
    {
        "hwsearch.compression.rounding.calibrated": ["CalibratedWeights"],
    },
)
