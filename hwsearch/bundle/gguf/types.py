"""Types of a GGUF file, by the weight formats that they stand for, and their bytes.

A block of ggml is 32 numbers: a 16-bit scale before them, and in `Q4_1` a 16-bit least value (ggml's
``ggml-quants.c``). Formats whose blocks are 64 or 128 numbers write one scale into several of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np

from hwsearch.errors import PlanError
from hwsearch.formats.blocks import Blocks, unpacked
from hwsearch.formats.catalog import format_of
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hwsearch.formats.weight_format import Codes

#: Numbers of a block.
BLOCK: Final = 32

#: Types of formats without blocks.
_FLOATS: Final = {WeightFormat.FP32: "F32", WeightFormat.FP16: "F16"}

#: Types of formats in blocks, by bits and whether they lie around zero.
_BLOCKS: Final = {(8, True): "Q8_0", (4, True): "Q4_0", (4, False): "Q4_1"}


def type_of(fmt: WeightFormat, inputs: int, where: str) -> str:
    """The name of the type that holds a format's numbers exactly.

    >>> type_of(WeightFormat("w4-g64"), 128, "layers.0.down")
    'Q4_0'

    Args:
        fmt: the format.
        inputs: of the linear.
        where: which one it is, for errors.

    Raises:
        PlanError: there is none, or the inputs are no whole blocks.
    """
    form = format_of(fmt)
    known = _FLOATS.get(fmt)
    if isinstance(form, Blocks):
        known = _BLOCKS.get((form.bits, form.symmetric))
    if known is None:
        offered = [each.value for each in WeightFormat if _is_told(each)]
        raise PlanError(
            f"{where}: no type of a GGUF file holds {fmt.value}; it holds {', '.join(offered)}, as plans do "
            "that are searched for one of llama.cpp's devices (hwsearch ls devices)"
        )
    if fmt not in _FLOATS and inputs % BLOCK:
        raise PlanError(
            f"{where}: {known} ({fmt.value}) needs inputs in multiples of {BLOCK}, and there are {inputs}; "
            "keep it in fp16 or fp32"
        )
    return known


def _is_told(fmt: WeightFormat) -> bool:
    form = format_of(fmt)
    return fmt in _FLOATS or (isinstance(form, Blocks) and (form.bits, form.symmetric) in _BLOCKS)


def block_bytes(fmt: WeightFormat, codes: Codes, inputs: int) -> NDArray[np.uint8]:
    """Rows ``[out, bytes]`` of a matrix in blocks.

    Raises:
        PlanError: a scale is too large for 16 bits.
    """
    parts = _parts(fmt, codes, inputs)
    numbers, scale, least = parts
    heads = [scale, *([] if least is None else [least])]
    found: list[NDArray[np.uint8]] = [part[..., None].view(np.uint8) for part in heads]
    if format_of(fmt).bits == 8:
        found.append((numbers.astype(np.int16) - 128).astype(np.int8).view(np.uint8))
    else:  # a byte holds a number of the first half, and in its upper bits one of the second
        found.append(
            numbers[..., : BLOCK // 2] | (numbers[..., BLOCK // 2 :] * 16).astype(np.uint8)
        )
    return np.concatenate(found, axis=-1).reshape(len(numbers), -1)


def block_values(fmt: WeightFormat, codes: Codes, inputs: int) -> NDArray[np.float32]:
    """The matrix ``[out, in]`` that `block_bytes` stand for: scales are 16-bit floats there."""
    numbers, scale, least = _parts(fmt, codes, inputs)
    exact = scale.astype(np.float32)[..., None]
    if least is None:
        half = np.float32(2 ** (format_of(fmt).bits - 1))
        values = (numbers.astype(np.float32) - half) * exact
    else:
        values = numbers.astype(np.float32) * exact + least.astype(np.float32)[..., None]
    return values.reshape(len(numbers), -1)


def _parts(
    fmt: WeightFormat, codes: Codes, inputs: int
) -> tuple[NDArray[np.uint8], NDArray[np.float16], NDArray[np.float16] | None]:
    """Numbers ``[out, blocks, 32]`` from 0 up, scales and least values ``[out, blocks]``."""
    form = format_of(fmt)
    assert isinstance(form, Blocks), "type_of comes first"
    numbers = unpacked(np.asarray(codes[f"_Q{form.bits}"]), form.bits)
    scales = np.asarray(codes["_scales"], dtype=np.float32)
    points = form.zero_points(codes)
    whole = inputs // BLOCK
    numbers = numbers.reshape(len(numbers), -1, BLOCK)[:, :whole]
    scale = _half(np.repeat(scales, form.block // BLOCK, axis=1)[:, :whole], fmt)
    if points is None:
        return numbers, scale, None
    below = np.repeat(points.astype(np.float32), form.block // BLOCK, axis=1)[:, :whole]
    return numbers, scale, _half(-scale.astype(np.float32) * below, fmt)


def _half(values: NDArray[np.float32], fmt: WeightFormat) -> NDArray[np.float16]:
    with np.errstate(over="ignore"):
        found = values.astype(np.float16)
    if not np.isfinite(found).all():
        raise PlanError(
            f"a scale of {fmt.value} is {np.abs(values).max():g}, too large for the 16 bits of a GGUF file"
        )
    return found
