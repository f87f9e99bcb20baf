"""What ``w8`` and ``w4`` share: weights in blocks of inputs, symmetric (the operator MatMulNBits).

Inputs are int8 in the same blocks, which is what the operator's ``accuracy_level`` 4 means.
"""

from __future__ import annotations

from functools import cache
from math import ceil
from typing import TYPE_CHECKING, ClassVar, Final

import numpy as np

from hwsearch.formats.integer_format import IntegerFormat
from hwsearch.formats.weight_format import CONTRIB, Spec

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor

    from hwsearch.formats.weight_format import Codes

#: Inputs that share one scale.
BLOCK_SIZE: Final = 32

#: ``accuracy_level`` of MatMulNBits at which inputs are rounded to int8.
_INT8_INPUTS = 4


class BlockFormat(IntegerFormat):
    """A number of bits a weight, a float scale a block. Block formats multiply in int8.

    The value of largest magnitude in a block, with its sign, gets the code ``-2^(bits-1)``; of two
    equal ones the negative.
    """

    block: ClassVar[int] = BLOCK_SIZE
    mac_pj = 0.2 + 0.1
    scaled_part = "_scales"

    def specs(self, inputs: int, outputs: int) -> dict[str, Spec]:
        """Packed codes ``[out, blocks, bytes]`` and scales ``[out, blocks]``; last blocks are padded."""
        blocks, size = ceil(inputs / self.block), self.block * self.bits // 8
        return {
            f"_Q{self.bits}": Spec(np.dtype(np.uint8), (outputs, blocks, size), 0),
            "_scales": Spec(np.dtype(np.float32), (outputs, blocks), 0),
        }

    def encode(self, matrix: NDArray[np.float32]) -> Codes:
        """Codes and scales by the kernel that onnxruntime's own quantiser calls."""
        from onnxruntime.capi import _pybind_state as kernels

        inputs, outputs = matrix.shape
        found = {
            name: np.zeros(spec.shape, spec.dtype)
            for name, spec in self.specs(inputs, outputs).items()
        }
        packed, scales = found.values()
        blocks = scales.shape[1]
        padded = np.zeros((blocks * self.block, outputs), dtype=np.float32)
        padded[:inputs] = matrix
        zeros = np.zeros((outputs, ceil(blocks * self.bits / 8)), dtype=np.uint8)
        quantise = {4: kernels.quantize_matmul_4bits, 8: kernels.quantize_matmul_8bits}[self.bits]
        quantise(packed, padded, scales, zeros, self.block, outputs, inputs, True)
        return found

    def decode(self, codes: Codes, inputs: int) -> NDArray[np.float32]:
        """Codes around zero times their block's scale."""
        packed: NDArray[np.uint8] = np.asarray(codes[f"_Q{self.bits}"], dtype=np.uint8)
        scales: NDArray[np.float32] = np.asarray(codes["_scales"], dtype=np.float32)
        if self.bits == 8:
            blocks = np.subtract(packed, np.float32(128), dtype=np.float32)
        else:  # one look-up a byte, which is several times as quick as taking its parts from one another
            values = np.take(_values(self.bits), packed, axis=0)
            blocks = values.reshape(*scales.shape, self.block)
        blocks *= scales[..., None]
        return np.ascontiguousarray(blocks.reshape(len(blocks), -1)[:, :inputs])

    def scales(self, weight: NDArray[np.float32]) -> NDArray[np.float32]:
        """Those that give the value of largest magnitude in a block the lowest number; 1 for zeros."""
        found = np.asarray(self.encode(np.asarray(weight).T)["_scales"], dtype=np.float32)
        return np.where(found == 0, np.float32(1), found)

    def pack(self, numbers: NDArray[np.int8], scales: NDArray[np.float32]) -> Codes:
        """Numbers from 0 up, the first of two in the lower half of a byte."""
        outputs, inputs = numbers.shape
        padded = np.zeros((outputs, scales.shape[1] * self.block), dtype=np.int16)
        padded[:, :inputs] = numbers
        codes: NDArray[np.uint8] = (padded - self.low).astype(np.uint8).reshape(*scales.shape, -1)
        if self.bits == 4:
            codes = codes[..., 0::2] | codes[..., 1::2] << np.uint8(4)
        return {f"_Q{self.bits}": codes, "_scales": scales.astype(np.float32)}

    def round_inputs(self, x: Tensor) -> Tensor:
        """int8 in blocks of 32 features."""
        return round_input_blocks(x)

    def nodes(self, name: str, inputs: int, outputs: int) -> list[onnx.NodeProto]:
        """One MatMulNBits."""
        from onnx import helper

        weight = [f"{name}.weight{suffix}" for suffix in self.specs(inputs, outputs)]
        return [
            helper.make_node(
                "MatMulNBits",
                ["x", *weight],
                ["y"],
                f"{name}_Q{self.bits}",
                domain=CONTRIB,
                K=inputs,
                N=outputs,
                bits=self.bits,
                block_size=self.block,
                accuracy_level=_INT8_INPUTS,
            )
        ]


@cache
def _values(bits: int) -> NDArray[np.float32]:
    """Centred codes ``[256, codes]`` of each byte."""
    every = np.arange(256, dtype=np.uint8).reshape(256, 1, 1)
    values = unpacked(every, bits).reshape(256, -1).astype(np.float32)
    return values - np.float32(2 ** (bits - 1))


def unpacked(packed: NDArray[np.generic], bits: int) -> NDArray[np.uint8]:
    """Codes ``[out, blocks, 32]`` of packed ones; the lower half of a byte comes first."""
    codes: NDArray[np.uint8] = np.asarray(packed, dtype=np.uint8)
    if bits == 8:
        return codes
    return np.stack((codes & 15, codes >> 4), axis=-1).reshape(*codes.shape[:2], -1)


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
