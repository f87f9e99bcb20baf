"""What a weight format is to everybody else: its facts, its simulation, its operator."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    import onnx
    from torch import nn


class Format(ABC):
    """A bit-width with its arithmetic.

    The simulation computes what the kernels of an exported graph compute, up to the order of float
    additions: `hwsearch.testing.FormatContract` holds one to the other. torch, onnx and onnxruntime
    are imported when they are asked for, so that facts stay cheap to read.

    Attributes:
        name: as users spell it.
        text: one line for listings.
        bits: of a weight.
        block: inputs that share one scale; None where there are no blocks.
        bytes_per_weight: as a runtime holds it, scales of blocks included.
        mac_pj: picojoules of a multiplication and an addition (45 nm, 0.9 V; Horowitz, ISSCC 2014).
        operator: what a product becomes in a graph: operator, and what is added to its name; None
            where onnxruntime runs no such product.
        is_alone: whether `quantise` leaves all products of other formats as they are.
    """

    name: ClassVar[WeightFormat]
    text: ClassVar[str]
    bits: ClassVar[int]
    block: ClassVar[int | None] = None
    bytes_per_weight: ClassVar[float]
    mac_pj: ClassVar[float]
    operator: ClassVar[tuple[str, str] | None] = None
    is_alone: ClassVar[bool] = True

    @abstractmethod
    def matrix_bytes(self, out_features: int, in_features: int) -> int:
        """Bytes of one weight matrix in a file, scales and zero points included."""

    @abstractmethod
    def simulate(self, linear: nn.Linear) -> nn.Module:
        """A linear as it computes in the format. Never changes `linear`."""

    def quantise(
        self, model: onnx.ModelProto, formats: Mapping[str, WeightFormat]
    ) -> onnx.ModelProto:
        """A graph whose products of this format, by `formats`, are in it; others are left alone.

        Args:
            model: may be changed.
            formats: the format of each product by its node's name.
        """
        return model
