"""Linears of a compressed model, for whoever writes their weights: formats, floats and codes by path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import Tensor, nn

from hwsearch.compression.bank import linear_formats
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import PlanError
from hwsearch.formats.catalog import format_of
from hwsearch.formats.linears.stored_linear import CodedLinear, outputs_at_once
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    from hwsearch.formats.weight_format import Codes


def formats_of(compressed: CompressedDenoiser) -> dict[str, WeightFormat]:
    """The format of every linear, by path."""
    return linear_formats(compressed.plan, compressed.network.linear_groups())


def weight_of(compressed: CompressedDenoiser, path: str) -> Tensor:
    """A linear's float weight ``[out, in]``: pruned where the plan does, and not rounded."""
    return float_linear(compressed, path).weight.detach()


def float_linear(compressed: CompressedDenoiser, path: str) -> nn.Linear:
    """A linear before it is rounded."""
    linear = compressed.float_network.get_submodule(path)
    assert isinstance(linear, nn.Linear)
    return linear


def codes_of(compressed: CompressedDenoiser, path: str, fmt: WeightFormat) -> Iterator[Codes]:
    """Codes of a linear in blocks, some outputs at a time: the very ones that it computes with."""
    module, weight = compressed.network.get_submodule(path), weight_of(compressed, path)
    outputs, inputs = weight.shape
    form = format_of(fmt)
    specs = form.specs(inputs, outputs)
    known = module.codes if isinstance(module, CodedLinear) else None
    rounded = getattr(module, "rounded", None)
    known = known if rounded is None else rounded.codes
    for start, stop in outputs_at_once(outputs, inputs):
        if known is None:
            yield form.encode(weight[start:stop].float().cpu().numpy().T)
        else:
            yield {name: known[name][spec.outputs(start, stop)] for name, spec in specs.items()}


def sizes_of(compressed: CompressedDenoiser, what: str) -> Geometry:
    """The sizes of all layers, for files that know one.

    Args:
        compressed: the model, its plan applied.
        what: such a file, for error messages.

    Raises:
        PlanError: layers keep different numbers of heads or channels.
    """
    layers = compressed.plan.layers
    first = layers[0]
    for index, layer in enumerate(layers):
        for name in ("kept_heads", "kept_channels"):
            if getattr(layer, name) != getattr(first, name):
                raise PlanError(
                    f"layers.{index}.{name} is {getattr(layer, name)}, and {getattr(first, name)} in the "
                    f"first layer; {what} has one size for all layers"
                )
    return compressed.denoiser.geometry.keeping(first.kept_heads, first.kept_channels)
