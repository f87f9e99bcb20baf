"""Products of each format with torch's own kernels, random weights, ready to be called.

==========  ====================================================================================
``fp32``    float32 product
``fp16``    bfloat16 product
``w8a8``    int8 product; activations are quantised by row, in the same call
``w8``      8-bit weights, bfloat16 activations (`_weight_int8pack_mm`)
``w4``      4-bit weights in groups of 32, bfloat16 activations (tinygemm's `_weight_int4pack_mm`)
``fp8``     float8 product (`_scaled_mm`); activations are quantised by tensor, in the same call
``fp16-2:4``  bfloat16 product with half of the weights left out, two of every four
==========  ====================================================================================

The last two are no formats of a plan: they are timed to be compared.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from hwsearch.errors import InputError
from hwsearch.formats.blocks import BLOCK_SIZE

Linear = Callable[[Tensor], Tensor]

#: Weights that share a scale and a zero, in ``w4``.
GROUP = BLOCK_SIZE

#: Rows that some kernels need at least, or multiples of which they need.
INT8_ROWS, FP8_ROWS = 32, 16


def linear_kernel(fmt: str, in_features: int, out_features: int, device: torch.device) -> Linear:
    """A product ``[rows, in] -> [rows, out]`` with weights of its own.

    Raises:
        InputError: no kernel of that name.
        RuntimeError: torch has the kernel, but not on this device or not for these sizes.
    """
    if fmt not in _KERNELS:
        raise InputError(f"torch kernels: format must be one of {', '.join(_KERNELS)}; got {fmt!r}")
    weight = torch.randn(out_features, in_features, device=device) * in_features**-0.5
    return _KERNELS[fmt](weight)


def input_dtype(fmt: str) -> torch.dtype:
    """What a kernel wants its rows in."""
    return torch.float32 if fmt == "fp32" else torch.bfloat16


def _float32(weight: Tensor) -> Linear:
    return lambda x: F.linear(x, weight)


def _bfloat16(weight: Tensor) -> Linear:
    halved = weight.bfloat16()
    return lambda x: F.linear(x, halved)


def _int8(weight: Tensor) -> Linear:
    scale = weight.abs().amax(dim=1).clamp(min=1e-8) / 127
    codes = (weight / scale[:, None]).round().to(torch.int8).t()

    def product(x: Tensor) -> Tensor:
        rows = _padded(x, INT8_ROWS)
        per_row = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-8) / 127
        # in bfloat16 the largest may come out as 128, which int8 has no room for
        quantised = (rows / per_row).round().clamp(-127, 127).to(torch.int8)
        total = torch._int_mm(quantised, codes)
        return (total[: len(x)] * per_row[: len(x)] * scale).to(x.dtype)

    return product


def _weight8(weight: Tensor) -> Linear:
    scale = (weight.abs().amax(dim=1).clamp(min=1e-8) / 127).bfloat16()
    codes = (weight / scale[:, None].float()).round().to(torch.int8)
    return lambda x: torch.ops.aten._weight_int8pack_mm(x, codes, scale)


def _weight4(weight: Tensor) -> Linear:
    out_features, in_features = weight.shape
    groups = weight.view(out_features, in_features // GROUP, GROUP)
    scale = groups.abs().amax(dim=2).clamp(min=1e-8) / 7
    codes = (groups / scale[..., None]).round().clamp(-8, 7).add(8).view_as(weight)
    # the kernel's zero is the value of code 8, so none is added
    both = torch.stack((scale, torch.zeros_like(scale)), dim=2)
    scales = both.transpose(0, 1).contiguous().bfloat16()
    if weight.device.type == "cpu":
        packed = torch.ops.aten._convert_weight_to_int4pack_for_cpu(codes.int(), 1)
        return lambda x: torch.ops.aten._weight_int4pack_mm_for_cpu(x, packed, GROUP, scales)
    pairs = codes.to(torch.uint8)
    pairs = (pairs[:, ::2] << 4) | pairs[:, 1::2]
    packed = torch.ops.aten._convert_weight_to_int4pack(pairs.contiguous(), 8)
    return lambda x: torch.ops.aten._weight_int4pack_mm(x, packed, GROUP, scales)


def _float8(weight: Tensor) -> Linear:
    kind = torch.float8_e4m3fn
    largest = torch.finfo(kind).max
    scale = (weight.abs().amax().clamp(min=1e-8) / largest).float()
    codes = (weight / scale).to(kind).t()

    def product(x: Tensor) -> Tensor:
        rows = _padded(x, FP8_ROWS)
        own = (rows.abs().amax().clamp(min=1e-8) / largest).float()
        quantised = (rows / own).to(kind)
        total = torch._scaled_mm(quantised, codes, own, scale, out_dtype=torch.bfloat16)
        return total[: len(x)]

    return product


def _sparse(weight: Tensor) -> Linear:
    if weight.device.type != "cuda":
        raise RuntimeError("2:4 sparse products need an NVIDIA GPU")
    fours = weight.view(-1, 4)
    kept = fours.abs().argsort(dim=1) >= 2
    pruned = torch.where(kept, fours, 0).view_as(weight).bfloat16()
    sparse = torch.sparse.to_sparse_semi_structured(pruned)
    return lambda x: F.linear(x, sparse)


def _padded(x: Tensor, multiple: int) -> Tensor:
    missing = -len(x) % multiple
    return F.pad(x, (0, 0, 0, missing)) if missing else x


_KERNELS: dict[str, Callable[[Tensor], Linear]] = {
    "fp32": _float32,
    "fp16": _bfloat16,
    "w8a8": _int8,
    "w8": _weight8,
    "w4": _weight4,
    "fp8": _float8,
    "fp16-2:4": _sparse,
}

#: Every format that is tried, those of plans first.
FORMATS = tuple(_KERNELS)
