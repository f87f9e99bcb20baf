"""Linears as plans that round by calibration have them, for estimates of what they cost."""

from __future__ import annotations

from torch import nn

from hwsearch.compression import WeightBank
from hwsearch.formats.catalog import simulate
from hwsearch.plan import CompressionPlan, WeightFormat


class CalibratedLinears:
    """Linears of a bank in formats, rounded by calibration: all of a format when the first is asked for.

    Args:
        bank: with a calibration.
    """

    def __init__(self, bank: WeightBank) -> None:
        self._bank = bank
        self._modules: dict[WeightFormat, dict[str, nn.Module]] = {}

    def __call__(self, path: str, linear: nn.Linear, fmt: WeightFormat) -> nn.Module:
        """One of them; one that no plan of the bank has, rounded to nearest."""
        if fmt not in self._modules:
            self._modules[fmt] = self._made(fmt)
        found = self._modules[fmt].get(path)
        return simulate(linear, fmt) if found is None else found

    def _made(self, fmt: WeightFormat) -> dict[str, nn.Module]:
        denoiser = self._bank.denoiser
        plan = CompressionPlan.uniform(
            denoiser.num_layers, fmt, fmt, head=fmt, rounding="calibrated"
        )
        return self._bank.modules(plan, denoiser.network)
