"""The noise floor of a compressed network: what rounding errors in its floats come to.

Two programs that compute the same network add floats in another order. That moves an input of a
linear by some units in the last place, and where inputs are rounded to codes now and then one falls
on the other side; the next layers carry it on. How far such flips move the predictions depends on
the network (1e-13 nats unquantised, 1e-5 in gsm-mini's formats, 1e-2 in a network whose inputs have
large outliers), so it has to be measured: the network is run again with its floats disturbed.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from hwsearch.compression.swap import swapped
from hwsearch.denoisers.network import Network

#: Relative size of the disturbance, four units in the last place of a 32-bit float: what is left of
#: a sum of some hundred products, added up in another order.
EPSILON = 2.0**-22


def perturbed(network: Network, seed: int, epsilon: float = EPSILON) -> Network:
    """The network with the inputs of all its named linears disturbed; it shares all weights.

    Args:
        network: a (compressed) network; left as it is.
        seed: of the disturbance.
        epsilon: its standard deviation, relative to each input; of 32-bit floats, and of shorter ones
            as many units in their last place.
    """
    generator = torch.Generator().manual_seed(seed)
    paths = network.linear_groups().paths()
    found: Network = swapped(
        network,
        {path: _Disturbed(network.get_submodule(path), generator, epsilon) for path in paths},
    )
    return found


class _Disturbed(nn.Module):
    """A linear whose inputs are disturbed.

    The linear is no child of it: what is known by its innermost modules, such as remembered layer
    outputs, must not take the one for the other.
    """

    def __init__(self, linear: nn.Module, generator: torch.Generator, epsilon: float) -> None:
        super().__init__()
        self._linear = (linear,)
        self._generator = generator
        self._epsilon = epsilon

    @property
    def weight(self) -> Any:
        """The linear's own."""
        return self._linear[0].weight

    def forward(self, x: Tensor) -> Tensor:
        """The linear of disturbed inputs."""
        noise = torch.randn(x.shape, generator=self._generator, dtype=torch.float32)
        # shorter floats have larger last places
        epsilon = self._epsilon * torch.finfo(x.dtype).eps / torch.finfo(torch.float32).eps
        disturbed = x * (1.0 + epsilon * noise.to(x.device)).to(x.dtype)
        product: Tensor = self._linear[0](disturbed)
        return product
