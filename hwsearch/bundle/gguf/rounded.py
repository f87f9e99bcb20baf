"""A compressed network with the weights that a GGUF file holds of it, and their codes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from hwsearch.bundle.gguf.types import block_values
from hwsearch.compression.bank import linear_formats
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.compression.swap import swapped
from hwsearch.denoisers.network import Network
from hwsearch.formats.blocks import Blocks
from hwsearch.formats.catalog import format_of
from hwsearch.formats.linears.simulated_linear import SimulatedLinear
from hwsearch.formats.linears.stored_linear import CodedLinear, outputs_at_once
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    from hwsearch.formats.weight_format import Codes


def gguf_network(compressed: CompressedDenoiser) -> Network:
    """The network of a plan as a GGUF file stores it.

    Blocks have scales of 16 bits there, and 32 where plans have floats: weights are within a two-thousandth
    of what the plan makes of them. Inputs are rounded as the plan says.
    """
    replaced: dict[str, nn.Module] = {}
    for path, fmt in formats_of(compressed).items():
        if not isinstance(format_of(fmt), Blocks):
            continue
        inputs = weight_of(compressed, path).shape[1]
        values = [block_values(fmt, codes, inputs) for codes in codes_of(compressed, path, fmt)]
        weight = torch.from_numpy(np.concatenate(values))
        replaced[path] = SimulatedLinear(
            weight, float_linear(compressed, path).bias, format_of(fmt).round_inputs
        )
    return swapped(compressed.network, replaced)


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
