"""Quantise every layer group once, then build any plan's network by swapping modules in."""

from __future__ import annotations

from torch import nn

from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.compression.formats import simulate
from hwsearch.compression.swap import swapped
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import LinearGroups
from hwsearch.errors import PlanError
from hwsearch.plan import CompressionPlan, WeightFormat


class WeightBank:
    """Every linear of a denoiser in every format asked for so far.

    Each (linear, format) is quantised the first time a plan needs it; after that a plan costs
    a few dictionary look-ups, and all networks built share the modules.
    """

    def __init__(self, denoiser: Denoiser) -> None:
        self.denoiser = denoiser
        self._simulated: dict[tuple[str, WeightFormat], nn.Module] = {}

    def modules(self, plan: CompressionPlan) -> dict[str, nn.Module]:
        """The plan's replacement modules by path in the network; ``fp32`` replaces nothing."""
        formats = linear_formats(plan, self.denoiser.network.linear_groups())
        wanted = {path: fmt for path, fmt in formats.items() if fmt is not WeightFormat.FP32}
        return {path: self._get(path, fmt) for path, fmt in wanted.items()}

    def _get(self, path: str, fmt: WeightFormat) -> nn.Module:
        key = (path, fmt)
        if key not in self._simulated:
            linear = self.denoiser.network.get_submodule(path)
            assert isinstance(linear, nn.Linear)
            self._simulated[key] = simulate(linear, fmt)
        return self._simulated[key]


def linear_formats(plan: CompressionPlan, groups: LinearGroups) -> dict[str, WeightFormat]:
    """The format of every linear of a network that has these groups, by its path."""
    formats = {
        path: WeightFormat(getattr(layer, group))
        for layer, named in zip(plan.layers, groups.layers, strict=True)
        for group, paths in named.items()
        for path in paths
    }
    return formats if groups.head is None else formats | {groups.head: plan.head}


def compress(
    denoiser: Denoiser, plan: CompressionPlan, bank: WeightBank | None = None
) -> CompressedDenoiser:
    """The denoiser as the plan makes it compute.

    Args:
        denoiser: the model; never changed, and all that stays unquantised is shared with it.
        plan: what to do to each layer.
        bank: modules quantised for earlier plans of this same denoiser; None starts a new one.

    Raises:
        PlanError: the plan has another number of layers than the model.
    """
    check_fits(plan, denoiser)
    bank = bank or WeightBank(denoiser)
    assert bank.denoiser is denoiser, "a bank belongs to one denoiser"
    return CompressedDenoiser(
        denoiser, plan, swapped(denoiser.network, bank.modules(plan)), denoiser.network
    )


def check_fits(plan: CompressionPlan, denoiser: Denoiser) -> None:
    """Raise `PlanError` unless the plan has as many layers as the model."""
    planned, real = len(plan.layers), denoiser.num_layers
    if planned != real:
        raise PlanError(
            f"the plan has {planned} layers but model {denoiser.name!r} has {real}; "
            f"give a plan of {real} layers"
        )
