"""Inputs of linears rounded otherwise than their formats say, as some runtimes do."""

from __future__ import annotations

import copy
from collections.abc import Callable

from torch import Tensor, nn

from hwsearch.compression.swap import swapped
from hwsearch.denoisers.network import Network
from hwsearch.formats.blocks import Blocks
from hwsearch.formats.linears.simulated_linear import Rounding, SimulatedLinear
from hwsearch.formats.linears.stored_linear import CodedLinear
from hwsearch.formats.weight_format import Format


def with_inputs_rounded(network: Network, choose: Callable[[Format], Rounding | None]) -> Network:
    """The network with the inputs of some formats rounded otherwise; it shares all weights.

    Args:
        network: a compressed network; left as it is.
        choose: says how inputs of a format are rounded; None leaves them as they are.
    """
    found: dict[str, nn.Module] = {}
    for path in network.linear_groups().paths():
        module = network.get_submodule(path)
        if isinstance(module, SimulatedLinear | CodedLinear) and module.form is not None:
            rounding = choose(module.form)
            if rounding is not None:
                found[path] = _rounding(module, rounding)
    other: Network = swapped(network, found)
    return other


def with_float_inputs(network: Network) -> Network:
    """The network with no input of a block format rounded; see `with_inputs_rounded`."""
    return with_inputs_rounded(
        network, lambda form: unrounded if isinstance(form, Blocks) else None
    )


def _rounding(module: SimulatedLinear | CodedLinear, rounding: Rounding) -> nn.Module:
    clone = copy.copy(module)
    rounded = module.rounded
    clone.round_inputs = rounding if rounded is None else rounded.dividing(rounding)
    return clone


def unrounded(x: Tensor) -> Tensor:
    """Inputs as they are."""
    return x
