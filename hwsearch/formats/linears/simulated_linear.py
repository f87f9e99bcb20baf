"""A linear layer that computes in a format, by rounding.

Weights are rounded once and inputs at every call; the product itself runs in float32. Kernels
multiply integer codes instead, and both agree up to the order of float additions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

if TYPE_CHECKING:
    from hwsearch.formats.integer_format import RoundedWeight
    from hwsearch.formats.weight_format import Format

Rounding = Callable[[Tensor], Tensor]

#: Weights of a matrix that are rounded at once.
AT_ONCE = 1 << 24


class SimulatedLinear(nn.Module):
    """A linear layer with rounded weights that rounds its inputs.

    Attributes:
        weight: rounded weights, float, ``[out_features, in_features]``.
        bias: the linear's own bias, never rounded; or None.
        form: the format, where the linear computes in one.
        rounded: what the weight was made of, where it was rounded by what the linear sees.
    """

    form: Format | None = None
    rounded: RoundedWeight | None = None
    weight: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None, round_inputs: Rounding) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.round_inputs = round_inputs

    def forward(self, x: Tensor) -> Tensor:
        """The product of rounded inputs ``[..., in_features]``."""
        if self.form is not None and self.form.rounds_outputs:
            return biased(
                self.form.round_outputs(F.linear(self.round_inputs(x), self.weight)), self.bias
            )
        return F.linear(self.round_inputs(x), self.weight, self.bias)


def biased(product: Tensor, bias: Tensor | None) -> Tensor:
    """A product ``[..., out]`` with its bias, where there is one."""
    return product if bias is None else product + bias


def simulated(linear: nn.Linear, form: Format) -> SimulatedLinear:
    """A linear with its weights, and its inputs at every call, rounded as a format does."""
    bias = None if linear.bias is None else linear.bias.detach()
    found = SimulatedLinear(rounded(linear.weight, form), bias, form.round_inputs)
    found.form = form
    return found


def calibrated(linear: nn.Linear, form: Format, weight: RoundedWeight) -> SimulatedLinear:
    """A linear whose weight was rounded before, by what it sees."""
    bias = None if linear.bias is None else linear.bias.detach()
    decoded = torch.from_numpy(form.decode(weight.codes, linear.in_features)).to(linear.weight)
    found = SimulatedLinear(decoded, bias, weight.dividing(form.round_inputs))
    found.form, found.rounded = form, weight
    return found


@torch.no_grad()
def rounded(weight: Tensor, form: Format) -> Tensor:
    """Weights ``[out, in]`` as a format stores them, in their own type and place."""
    outputs, inputs = weight.shape
    found = torch.empty_like(weight, memory_format=torch.contiguous_format)
    at_once = max(1, AT_ONCE // inputs)
    for start in range(0, outputs, at_once):
        exact = weight[start : start + at_once].float().cpu().numpy()
        decoded = form.decode(form.encode(exact.T), inputs)
        found[start : start + at_once] = torch.from_numpy(decoded).to(weight.dtype)
    return found
