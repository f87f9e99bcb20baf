"""Products of blocks of codes as some runtimes compute them: with inputs that stay floats."""

from __future__ import annotations

import copy

from torch import Tensor, nn

from hwsearch.compression.swap import swapped
from hwsearch.denoisers.network import Network
from hwsearch.formats.blocks import Blocks
from hwsearch.formats.linears.simulated_linear import SimulatedLinear
from hwsearch.formats.linears.stored_linear import CodedLinear


def with_float_inputs(network: Network) -> Network:
    """The network with no input of a block format rounded; it shares all weights.

    Args:
        network: a compressed network; left as it is.
    """
    found = {path: network.get_submodule(path) for path in network.linear_groups().paths()}
    blocks = {path: _unrounded(one) for path, one in found.items() if _has_blocks(one)}
    free: Network = swapped(network, blocks)
    return free


def _has_blocks(module: nn.Module) -> bool:
    return isinstance(module, SimulatedLinear | CodedLinear) and isinstance(module.form, Blocks)


def _unrounded(module: nn.Module) -> nn.Module:
    assert isinstance(module, SimulatedLinear | CodedLinear)
    clone = copy.copy(module)
    rounded = module.rounded
    clone.round_inputs = _same if rounded is None else rounded.dividing(_same)
    return clone


def _same(x: Tensor) -> Tensor:
    return x
