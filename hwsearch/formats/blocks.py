"""What formats of blocks share: weights in blocks of inputs (the operator MatMulNBits).

Inputs are int8 in the same blocks, which is what the operator's ``accuracy_level`` 4 means.
"""

from __future__ import annotations

from functools import cache
from math import ceil
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from hwsearch.formats.integer_format import IntegerFormat
from hwsearch.formats.weight_format import CONTRIB, Spec
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor

    from hwsearch.formats.weight_format import Codes

#: Inputs that share one scale in the formats whose names say no size.
BLOCK_SIZE: Final = 32

#: ``accuracy_level`` of MatMulNBits at which inputs are rounded to int8.
_INT8_INPUTS = 4


class Blocks(IntegerFormat):
    """A number of bits a weight, and a float scale a block. Block formats multiply in int8.

    Args:
        bits: of a weight: 2, 4 or 8.
        block: inputs that share one scale.
    """

    block: int
    symmetric: bool
    mac_pj = 0.2 + 0.1
    scaled_part = "_scales"

    def __init__(self, bits: int, block: int = BLOCK_SIZE) -> None:
        symmetric = self.symmetric
        size = "" if block == BLOCK_SIZE else f"-g{block}"
        self.name = WeightFormat(f"w{bits}{size}{'' if symmetric else '-asym'}")
        self.bits, self.block = bits, block
        self.low, self.high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
        zero = 0.0 if symmetric else bits / 8
        self.bytes_per_weight = bits / 8 + (4 + zero) / block
        points = "" if symmetric else " with a zero point each"
        self.text = (
            f"{bits}-bit weights in blocks of {block} along the inputs{points}, activations rounded in "
            "blocks."
        )
        self.operator = ("MatMulNBits", f"_Q{self.name.value.removeprefix('w')}")

    def specs(self, inputs: int, outputs: int) -> dict[str, Spec]:
        """Packed codes ``[out, blocks, bytes]``, scales ``[out, blocks]`` and, where there are any, packed
        zero points; last blocks are padded.
        """
        blocks, size = ceil(inputs / self.block), self.block * self.bits // 8
        found = {
            f"_Q{self.bits}": Spec(np.dtype(np.uint8), (outputs, blocks, size), 0),
            "_scales": Spec(np.dtype(np.float32), (outputs, blocks), 0),
        }
        if not self.symmetric:
            points = ceil(blocks * self.bits / 8)
            found["_zero_points"] = Spec(np.dtype(np.uint8), (outputs, points), 0)
        return found

    def encode(self, matrix: NDArray[np.float32]) -> Codes:
        """Codes and scales by the kernel that onnxruntime's own quantiser calls."""
        from onnxruntime.capi import _pybind_state as kernels

        inputs, outputs = matrix.shape
        found = {
            name: np.zeros(spec.shape, spec.dtype)
            for name, spec in self.specs(inputs, outputs).items()
        }
        packed, scales = found[f"_Q{self.bits}"], found["_scales"]
        blocks = scales.shape[1]
        padded = np.zeros((blocks * self.block, outputs), dtype=np.float32)
        padded[:inputs] = matrix
        unused = np.zeros((outputs, ceil(blocks * self.bits / 8)), dtype=np.uint8)
        zeros = found.get("_zero_points", unused)
        quantise = getattr(kernels, f"quantize_matmul_{self.bits}bits")
        quantise(packed, padded, scales, zeros, self.block, outputs, inputs, self.symmetric)
        return found

    def decode(self, codes: Codes, inputs: int) -> NDArray[np.float32]:
        """Codes less their block's zero point, times its scale."""
        packed: NDArray[np.uint8] = np.asarray(codes[f"_Q{self.bits}"], dtype=np.uint8)
        scales: NDArray[np.float32] = np.asarray(codes["_scales"], dtype=np.float32)
        half = np.float32(2 ** (self.bits - 1))
        if self.bits == 8:
            blocks = np.subtract(packed, half, dtype=np.float32)
        else:  # one look-up a byte, which is several times as quick as taking its parts from one another
            values = np.take(_values(self.bits), packed, axis=0)
            blocks = values.reshape(*scales.shape, self.block)
        if not self.symmetric:
            points = unpacked(np.asarray(codes["_zero_points"])[:, None], self.bits)
            blocks -= points[:, 0, : scales.shape[1], None].astype(np.float32) - half
        blocks *= scales[..., None]
        return np.ascontiguousarray(blocks.reshape(len(blocks), -1)[:, :inputs])

    def scales(self, codes: Codes) -> NDArray[np.float32]:
        """One a block; 1 for zeros."""
        found = np.asarray(codes["_scales"], dtype=np.float32)
        return np.where(found == 0, np.float32(1), found)

    def pack(
        self,
        numbers: NDArray[np.int8],
        scales: NDArray[np.float32],
        points: NDArray[np.uint8] | None = None,
    ) -> Codes:
        """Numbers from 0 up, the first of those of a byte in its lowest bits."""
        outputs, inputs = numbers.shape
        padded = np.zeros((outputs, scales.shape[1] * self.block), dtype=np.int16)
        padded[:, :inputs] = numbers
        blocks = padded.reshape(*scales.shape, self.block)
        below = -self.low if points is None else points[..., None].astype(np.int16)
        found: dict[str, NDArray[Any]] = {
            f"_Q{self.bits}": packed((blocks + below).astype(np.uint8), self.bits),
            "_scales": scales.astype(np.float32),
        }
        if points is not None:
            found["_zero_points"] = packed(points, self.bits)
        return found

    def round_inputs(self, x: Tensor) -> Tensor:
        """int8 in blocks of as many features."""
        return round_input_blocks(x, self.block)

    def nodes(self, name: str, inputs: int, outputs: int) -> list[onnx.NodeProto]:
        """One MatMulNBits."""
        from onnx import helper

        assert self.operator is not None
        operator, suffix = self.operator
        weight = [f"{name}.weight{part}" for part in self.specs(inputs, outputs)]
        return [
            helper.make_node(
                operator,
                ["x", *weight],
                ["y"],
                name + suffix,
                domain=CONTRIB,
                K=inputs,
                N=outputs,
                bits=self.bits,
                block_size=self.block,
                accuracy_level=_INT8_INPUTS,
            )
        ]


class BlockFormat(Blocks):
    """Blocks that are scaled around zero.

    The value of largest magnitude in a block, with its sign, gets the code ``-2^(bits-1)``; of two equal
    ones the negative.
    """

    symmetric = True


class ZeroPointBlockFormat(Blocks):
    """Blocks with a zero point of as many bits: codes reach from the smallest to the largest value."""

    symmetric = False

    def zero_points(self, codes: Codes) -> NDArray[np.uint8]:
        """The code of 0 in each block."""
        points = unpacked(np.asarray(codes["_zero_points"])[:, None], self.bits)[:, 0]
        return points[:, : codes["_scales"].shape[1]]


@cache
def _values(bits: int) -> NDArray[np.float32]:
    """Centred codes ``[256, codes]`` of each byte."""
    every = np.arange(256, dtype=np.uint8).reshape(256, 1, 1)
    values = unpacked(every, bits).reshape(256, -1).astype(np.float32)
    return values - np.float32(2 ** (bits - 1))


def packed(codes: NDArray[np.uint8], bits: int) -> NDArray[np.uint8]:
    """Codes ``[..., codes]`` as bytes, the first of those of a byte in its lowest bits."""
    each = 8 // bits
    pad = [(0, 0)] * (codes.ndim - 1) + [(0, -codes.shape[-1] % each)]
    filled = np.pad(codes, pad)
    parts = [filled[..., part::each] << (part * bits) for part in range(each)]
    found: NDArray[np.uint8] = np.bitwise_or.reduce(parts)
    return found


def unpacked(packed: NDArray[np.generic], bits: int) -> NDArray[np.uint8]:
    """Codes ``[out, blocks, codes]`` of packed ones; the lowest bits of a byte come first."""
    codes: NDArray[np.uint8] = np.asarray(packed, dtype=np.uint8)
    if bits == 8:
        return codes
    parts = [(codes >> shift) & (2**bits - 1) for shift in range(0, 8, bits)]
    return np.stack(parts, axis=-1).reshape(*codes.shape[:2], -1)


def round_input_blocks(x: Tensor, block: int = BLOCK_SIZE) -> Tensor:
    """Inputs ``[..., features]`` at int8 in blocks of features, symmetric.

    Blocks so small that 127 over their largest value is infinite count as zeros; what the kernels
    make of them is as small.
    """
    import torch

    blocks, size = _blocks(x.float(), block)
    largest = blocks.abs().amax(dim=-1, keepdim=True)
    scale = largest / 127
    inverse = 127 / largest
    inverse = torch.where(inverse.isfinite(), inverse, 0.0)
    return ((blocks * inverse).round() * scale).flatten(-2)[..., :size].to(x.dtype)


def _blocks(x: Tensor, block: int) -> tuple[Tensor, int]:
    """``[..., size]`` as ``[..., blocks, block]``, the last block padded with zeros; and the size."""
    import torch.nn.functional as F

    size = x.shape[-1]
    if size % block:
        x = F.pad(x, (0, -size % block))
    return x.unflatten(-1, (-1, block)), size
