"""What ``w8`` and ``w4`` share: weights in blocks of inputs, symmetric (the operator MatMulNBits).

Inputs are int8 in the same blocks, which is what the operator's ``accuracy_level`` 4 means.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from math import ceil
from typing import TYPE_CHECKING, ClassVar, Final

from hwsearch.formats.weight_format import Format
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor, nn

#: Inputs that share one scale.
BLOCK_SIZE: Final = 32

#: ``accuracy_level`` of MatMulNBits at which inputs are rounded to int8.
_INT8_INPUTS = 4


class BlockFormat(Format):
    """A number of bits a weight, a float scale a block. Block formats multiply in int8."""

    block: ClassVar[int] = BLOCK_SIZE
    mac_pj = 0.2 + 0.1

    def matrix_bytes(self, out_features: int, in_features: int) -> int:
        """Codes and a float scale of each block; the last block of a row is padded."""
        blocks = ceil(in_features / self.block)
        return out_features * blocks * (self.block * self.bits // 8 + 4)

    def simulate(self, linear: nn.Linear) -> nn.Module:
        """The linear with weights and inputs rounded in blocks."""
        from hwsearch.formats.simulated_linear import simulated

        return simulated(linear, partial(round_blocks, bits=self.bits), round_input_blocks)

    def quantise(
        self, model: onnx.ModelProto, formats: Mapping[str, WeightFormat]
    ) -> onnx.ModelProto:
        """MatMul to MatMulNBits, by onnxruntime's quantiser."""
        if self.name not in formats.values():
            return model
        from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

        quantiser = MatMulNBitsQuantizer(
            model,
            bits=self.bits,
            block_size=self.block,
            is_symmetric=True,
            accuracy_level=_INT8_INPUTS,
            nodes_to_exclude=[name for name, fmt in formats.items() if fmt is not self.name],
        )
        quantiser.process()
        return quantiser.model.model


def round_blocks(weight: Tensor, bits: int) -> Tensor:
    """Weights ``[out, in]`` in blocks of 32 inputs, symmetric (operator MatMulNBits).

    The value of largest magnitude, with its sign, gets the code ``-2^(bits-1)``; of two equal ones
    the negative. The codes are those that onnxruntime's quantiser writes into an export.
    """
    import numpy as np
    import torch

    codes, scales = block_codes(weight.detach().float().cpu().numpy(), bits)
    blocks = codes.astype(np.float32) * scales[..., None]
    rounded = torch.from_numpy(blocks.reshape(len(blocks), -1)[:, : weight.shape[1]])
    return rounded.to(weight.device, weight.dtype).contiguous()


def block_codes(
    weight: NDArray[np.float32], bits: int
) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
    """Codes ``[out, blocks, 32]`` around zero and scales ``[out, blocks]`` of weights ``[out, in]``."""
    import numpy as np
    from onnxruntime.capi import _pybind_state as kernels

    # what `MatMulNBitsQuantizer` calls too
    quantise = {4: kernels.quantize_matmul_4bits, 8: kernels.quantize_matmul_8bits}[bits]
    rows, size = weight.shape
    count = ceil(size / BLOCK_SIZE)
    columns = np.zeros((count * BLOCK_SIZE, rows), dtype=np.float32)
    columns[:size] = weight.T
    packed = np.zeros((rows, count, BLOCK_SIZE * bits // 8), dtype=np.uint8)
    scales = np.zeros((rows, count), dtype=np.float32)
    zeros = np.zeros((rows, ceil(count * bits / 8)), dtype=np.uint8)
    quantise(packed, columns, scales, zeros, BLOCK_SIZE, rows, size, True)
    if bits == 4:
        packed = np.stack((packed & 15, packed >> 4), axis=-1).reshape(rows, count, BLOCK_SIZE)
    return packed.astype(np.int16) - 2 ** (bits - 1), scales


def round_input_blocks(x: Tensor) -> Tensor:
    """Inputs ``[..., features]`` at int8 in blocks of 32 features, symmetric.

    Blocks so small that 127 over their largest value is infinite count as zeros; what the kernels
    make of them is as small.
    """
    import torch

    blocks, size = _blocks(x.float())
    largest = blocks.abs().amax(dim=-1, keepdim=True)
    scale = largest / 127
    inverse = 127 / largest
    inverse = torch.where(inverse.isfinite(), inverse, 0.0)
    return ((blocks * inverse).round() * scale).flatten(-2)[..., :size].to(x.dtype)


def _blocks(x: Tensor) -> tuple[Tensor, int]:
    """``[..., size]`` as ``[..., size / 32, 32]``, the last block padded with zeros; and the size."""
    import torch.nn.functional as F

    size = x.shape[-1]
    if size % BLOCK_SIZE:
        x = F.pad(x, (0, -size % BLOCK_SIZE))
    return x.unflatten(-1, (-1, BLOCK_SIZE)), size
