"""A linear layer that computes in a format, by rounding.

Weights are rounded once and inputs at every call; the product itself runs in float32. Kernels
multiply integer codes instead, and both agree up to the order of float additions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Rounding = Callable[[Tensor], Tensor]


class SimulatedLinear(nn.Module):
    """A linear layer with rounded weights that rounds its inputs.

    Attributes:
        weight: rounded weights, float, ``[out_features, in_features]``.
        bias: the linear's own bias, never rounded; or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, round_inputs: Rounding) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.round_inputs = round_inputs

    def forward(self, x: Tensor) -> Tensor:
        """The product of rounded inputs ``[..., in_features]``."""
        return F.linear(self.round_inputs(x), self.weight, self.bias)


@torch.no_grad()
def simulated(
    linear: nn.Linear, round_weights: Rounding, round_inputs: Rounding
) -> SimulatedLinear:
    """A linear with its weights ``[out, in]`` rounded by one function, its inputs by another."""
    bias = None if linear.bias is None else linear.bias.detach()
    return SimulatedLinear(round_weights(linear.weight.detach()), bias, round_inputs)
