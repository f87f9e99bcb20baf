"""What each weight format does to a linear layer, computed in torch as onnxruntime's CPU kernels do.

A linear is simulated by rounding: its weights once, its inputs at every call; the product itself
runs in float32. onnxruntime multiplies the integer codes instead, and both agree up to the
order of float additions.

``fp16``  weights and inputs rounded to 16-bit floats; sums stay in float32, as on tensor cores.
``w8a8``  weights 8 bits, symmetric, one scale an output channel (``quantize_dynamic(per_channel=True)``);
          inputs uint8 with one scale and zero point a sample (the operator DynamicQuantizeLinear).
``w8``, ``w4``  weights 8 / 4 bits, symmetric in blocks of 32 inputs (the operator MatMulNBits); inputs
          int8 in the same blocks, which is what its ``accuracy_level`` 4 means.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnxruntime.capi._pybind_state import quantize_matmul_4bits, quantize_matmul_8bits
from torch import Tensor, nn

from hwsearch.plan import WeightFormat

#: Inputs that share one scale in ``w8`` and ``w4``.
BLOCK_SIZE = 32

#: Bits of a weight in the block formats.
BLOCK_BITS = {WeightFormat.W8: 8, WeightFormat.W4: 4}

#: What `MatMulNBitsQuantizer` calls too, by bits.
_QUANTISERS = {4: quantize_matmul_4bits, 8: quantize_matmul_8bits}

#: The smallest normal float: onnxruntime takes smaller scales for 1.
_SMALLEST = torch.finfo(torch.float32).tiny


class SimulatedLinear(nn.Module):
    """A linear layer with rounded weights that rounds its inputs.

    Attributes:
        weight: rounded weights, float, ``[out_features, in_features]``.
        bias: the linear's own bias, never rounded; or None.
    """

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, weight: Tensor, bias: Tensor | None, round_inputs: Callable[[Tensor], Tensor]
    ) -> None:
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.round_inputs = round_inputs

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(self.round_inputs(x), self.weight, self.bias)


@torch.no_grad()
def simulate(linear: nn.Linear, fmt: WeightFormat) -> nn.Module:
    """`linear` as it computes in a format; the very same module for ``fp32``. Never changes `linear`."""
    if fmt is WeightFormat.FP32:
        return linear
    weight = linear.weight.detach()
    bias = None if linear.bias is None else linear.bias.detach()
    if fmt is WeightFormat.FP16:
        return SimulatedLinear(round_half(weight), bias, round_half)
    if fmt is WeightFormat.W8A8:
        return SimulatedLinear(round_channels(weight), bias, round_samples)
    return SimulatedLinear(round_blocks(weight, BLOCK_BITS[fmt]), bias, round_input_blocks)


def round_half(x: Tensor) -> Tensor:
    """Values at 16-bit float, those too large for it at its largest."""
    largest = torch.finfo(torch.float16).max
    return x.clamp(-largest, largest).to(torch.float16).to(x.dtype)


def round_channels(weight: Tensor) -> Tensor:
    """Weights ``[out, in]`` at 8 bits, -127..127, one scale an output channel.

    Channels whose scale would be subnormal become zeros, as onnxruntime makes them.
    """
    exact = weight.float()
    wide = 2 * exact.abs().amax(dim=1, keepdim=True).double() / 254
    scale = torch.where(wide >= _SMALLEST, wide, 1.0).float()
    return ((exact / scale).round().clamp(-127, 127) * scale).to(weight.dtype)


def round_samples(x: Tensor) -> Tensor:
    """Inputs at uint8 with one scale and zero point a sample (ONNX operator DynamicQuantizeLinear).

    The scale spans a whole tensor of a deployed pass, whose batch is 1; so here it spans
    ``[rows, features]`` of each sample of ``[batch, rows, features]``.
    """
    exact = x.float()
    dims = tuple(range(1, x.dim())) if x.dim() > 2 else tuple(range(x.dim()))
    low = exact.amin(dim=dims, keepdim=True).clamp(max=0)
    high = exact.amax(dim=dims, keepdim=True).clamp(min=0)
    scale = (high - low) / 255
    scale = torch.where(scale > 0, scale, 1.0)
    zero = (-low / scale).round().clamp(0, 255)
    return ((exact / scale).round() + zero).clamp(0, 255).sub(zero).mul(scale).to(x.dtype)


def round_blocks(weight: Tensor, bits: int) -> Tensor:
    """Weights ``[out, in]`` in blocks of 32 inputs, symmetric (operator MatMulNBits).

    The value of largest magnitude, with its sign, gets the code ``-2^(bits-1)``; of two equal ones
    the negative. The codes are those that onnxruntime's quantiser writes into an export.
    """
    codes, scales = block_codes(weight.detach().float().cpu().numpy(), bits)
    blocks = codes.astype(np.float32) * scales[..., None]
    rounded = torch.from_numpy(blocks.reshape(len(blocks), -1)[:, : weight.shape[1]])
    return rounded.to(weight.device, weight.dtype).contiguous()


def block_codes(
    weight: NDArray[np.float32], bits: int
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Codes ``[out, blocks, 32]`` around zero and scales ``[out, blocks]`` of weights ``[out, in]``."""
    rows, size = weight.shape
    count = ceil(size / BLOCK_SIZE)
    columns = np.zeros((count * BLOCK_SIZE, rows), dtype=np.float32)
    columns[:size] = weight.T
    packed = np.zeros((rows, count, BLOCK_SIZE * bits // 8), dtype=np.uint8)
    scales = np.zeros((rows, count), dtype=np.float32)
    zeros = np.zeros((rows, ceil(count * bits / 8)), dtype=np.uint8)
    _QUANTISERS[bits](packed, columns, scales, zeros, BLOCK_SIZE, rows, size, True)
    if bits == 4:
        packed = np.stack((packed & 15, packed >> 4), axis=-1).reshape(rows, count, BLOCK_SIZE)
    return packed.astype(np.int16) - 2 ** (bits - 1), scales


def round_input_blocks(x: Tensor) -> Tensor:
    """Inputs ``[..., features]`` at int8 in blocks of 32 features, symmetric.

    Blocks so small that 127 over their largest value is infinite count as zeros; what the kernels
    make of them is as small.
    """
    blocks, size = _blocks(x.float())
    largest = blocks.abs().amax(dim=-1, keepdim=True)
    scale = largest / 127
    inverse = 127 / largest
    inverse = torch.where(inverse.isfinite(), inverse, 0.0)
    return ((blocks * inverse).round() * scale).flatten(-2)[..., :size].to(x.dtype)


def _blocks(x: Tensor) -> tuple[Tensor, int]:
    """``[..., size]`` as ``[..., size / 32, 32]``, the last block padded with zeros; and the size."""
    size = x.shape[-1]
    if size % BLOCK_SIZE:
        x = F.pad(x, (0, -size % BLOCK_SIZE))
    return x.unflatten(-1, (-1, BLOCK_SIZE)), size
