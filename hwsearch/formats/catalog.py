"""Formats by the names users spell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hwsearch.formats.fp16 import Fp16
from hwsearch.formats.fp32 import Fp32
from hwsearch.formats.w4 import W4
from hwsearch.formats.w8 import W8
from hwsearch.formats.w8a8 import W8A8
from hwsearch.formats.weight_format import Format
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    from torch import nn

#: Every format, the least compressed first.
FORMATS: Final[dict[WeightFormat, Format]] = {
    each.name: each for each in (Fp32(), Fp16(), W8A8(), W8(), W4())
}

#: Those that graphs for onnxruntime can be in.
ONNX_FORMATS: Final = tuple(name for name, each in FORMATS.items() if each.operator is not None)


def format_of(name: WeightFormat) -> Format:
    """What a format is.

    >>> format_of(WeightFormat.W4).matrix_bytes(3, 40)
    120
    """
    return FORMATS[name]


def simulate(linear: nn.Linear, name: WeightFormat) -> nn.Module:
    """`linear` as it computes in a format; the very same module for ``fp32``. Never changes `linear`."""
    return format_of(name).simulate(linear)
