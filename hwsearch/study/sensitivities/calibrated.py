"""Linears as plans that round by calibration have them, for estimates of what they cost."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from hwsearch.compression import WeightBank
from hwsearch.formats.catalog import simulate
from hwsearch.plan import CompressionPlan, WeightFormat


class CalibratedLinears:
    """Linears of a bank in formats, rounded by calibration: all of a format are made at once.

    Args:
        bank: with a calibration.
        formats: those that will be asked for.
    """

    def __init__(self, bank: WeightBank, formats: Sequence[WeightFormat]) -> None:
        network, count = bank.denoiser.network, bank.denoiser.num_layers
        self._modules = {
            fmt: bank.modules(
                CompressionPlan.uniform(count, fmt, fmt, head=fmt, rounding="calibrated"), network
            )
            for fmt in formats
        }

    @property
    def origin(self) -> str:
        """Digest of the calibration."""
        rounded = (
            getattr(m, "rounded", None) for some in self._modules.values() for m in some.values()
        )
        return next((one.origin for one in rounded if one is not None), "")

    def __call__(self, path: str, linear: nn.Linear, fmt: WeightFormat) -> nn.Module:
        """One of them; one that no plan of the bank has, rounded to nearest."""
        found = self._modules[fmt].get(path)
        return simulate(linear, fmt) if found is None else found
