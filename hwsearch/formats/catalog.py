"""Formats by the names users spell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hwsearch.formats.fp8 import Fp8
from hwsearch.formats.fp16 import Fp16
from hwsearch.formats.fp32 import Fp32
from hwsearch.formats.w2 import W2
from hwsearch.formats.w4 import W4
from hwsearch.formats.w8 import W8
from hwsearch.formats.w8a8 import W8A8
from hwsearch.formats.weight_format import Format
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    from torch import nn

#: Every format, those of fewer bits later.
FORMATS: Final[dict[WeightFormat, Format]] = {
    each.name: each for each in (Fp32(), Fp16(), Fp8(), W8A8(), *W8, *W4, *W2)
}

#: Those that graphs for onnxruntime can be in.
ONNX_FORMATS: Final = tuple(name for name, each in FORMATS.items() if each.operator is not None)

#: Those that are timed and searched unless others are asked for, the least compressed first: kernels take as
#: long for the others of as many bits, nearly, or they lose more than a search would take.
USUAL_FORMATS: Final = (WeightFormat.FP32, WeightFormat.W8A8, WeightFormat.W8, WeightFormat.W4)


def format_of(name: WeightFormat) -> Format:
    """What a format is.

    >>> format_of(WeightFormat.W4).matrix_bytes(3, 40)
    120
    >>> format_of(WeightFormat("w2-g64-asym")).text
    '2-bit weights in blocks of 64 along the inputs with a zero point each, activations rounded in blocks.'
    """
    return FORMATS[name]


def simulate(linear: nn.Linear, name: WeightFormat) -> nn.Module:
    """`linear` as it computes in a format; the very same module for ``fp32``. Never changes `linear`."""
    return format_of(name).simulate(linear)
