"""What a weight format is to everybody else: its facts, its codes, its simulation, its operators."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray
    from torch import Tensor, nn

    Codes = Mapping[str, NDArray[np.generic]]

#: Microsoft's operators in onnxruntime.
CONTRIB = "com.microsoft"


@dataclass(frozen=True)
class Spec:
    """Type and shape of an array, and the axis of it that counts a product's outputs."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    axis: int

    @property
    def nbytes(self) -> int:
        """Bytes of the whole array."""
        return self.dtype.itemsize * math.prod(self.shape)

    def outputs(self, start: int, stop: int) -> tuple[slice, ...]:
        """The index of some outputs."""
        return (*(slice(None) for _ in range(self.axis)), slice(start, stop))


class Format(ABC):
    """A bit-width with its arithmetic.

    The simulation computes what the kernels of an exported graph compute, up to the order of float
    additions: `hwsearch.testing.FormatContract` holds one to the other. Outputs are encoded each by
    itself, so that a matrix of any size can be encoded in pieces. torch, onnx and onnxruntime are
    imported when they are asked for, so that facts stay cheap to read.

    Attributes:
        name: as users spell it.
        text: one line for listings.
        bits: of a weight.
        block: inputs that share one scale; None where there are no blocks.
        bytes_per_weight: as a runtime holds it, scales of blocks included.
        rounds_inputs_whole: whether all inputs of a sample share one scale, so that the largest of them
            costs the others their precision.
        rounds_outputs: whether the kernel hands out sums with fewer bits than it adds them with.
        mac_pj: picojoules of a multiplication and an addition (45 nm, 0.9 V; Horowitz, ISSCC 2014).
        operator: what a product becomes in a graph: operator, and what is added to its name; None
            where onnxruntime runs no such product.
        scaled_part: the array of `specs` that outputs are proportional to.
        scaled_axis: the axis of it that counts outputs.
    """

    name: WeightFormat
    text: str
    bits: int
    block: int | None = None
    bytes_per_weight: float
    rounds_inputs_whole: bool = False
    rounds_outputs: bool = False
    mac_pj: float
    operator: tuple[str, str] | None = None
    scaled_part: str = ""
    scaled_axis: int = 0

    @abstractmethod
    def specs(self, inputs: int, outputs: int) -> dict[str, Spec]:
        """The arrays that hold a matrix, by what is added to its name."""

    @abstractmethod
    def encode(self, matrix: NDArray[np.float32]) -> Codes:
        """The arrays of `specs` for a matrix ``[in, out]``."""

    @abstractmethod
    def decode(self, codes: Codes, inputs: int) -> NDArray[np.float32]:
        """The matrix ``[out, in]`` that codes stand for."""

    @abstractmethod
    def round_inputs(self, x: Tensor) -> Tensor:
        """Inputs ``[..., features]`` as the kernel rounds them."""

    def round_outputs(self, y: Tensor) -> Tensor:
        """Outputs ``[..., features]``, no bias added yet, as the kernel hands them out."""
        return y

    def scale_outputs(self, codes: Codes, factors: NDArray[np.float32]) -> Codes:
        """Codes of a matrix whose outputs are multiplied by factors ``[out]``.

        By powers of two that is exact: rounding and then scaling is scaling and then rounding.
        """
        array = codes[self.scaled_part]
        shape = [1] * array.ndim
        shape[self.scaled_axis] = -1
        return {**codes, self.scaled_part: array * factors.reshape(shape).astype(array.dtype)}

    def matrix_bytes(self, out_features: int, in_features: int) -> int:
        """Bytes of one weight matrix in a file, scales and zero points included."""
        return sum(spec.nbytes for spec in self.specs(in_features, out_features).values())

    def simulate(self, linear: nn.Linear) -> nn.Module:
        """A linear as it computes in the format. Never changes `linear`."""
        from hwsearch.formats.linears.simulated_linear import simulated

        return simulated(linear, self)

    def nodes(self, name: str, inputs: int, outputs: int) -> list[onnx.NodeProto]:
        """The product called `name` of ``x`` ``[1, rows, in]`` with a weight, to ``y``, as nodes.

        The arrays of the weight are called ``NAME.weight`` with what `specs` adds; inner values begin
        with the product's name.
        """
        raise NotImplementedError(f"onnxruntime runs no product in {self.name.value}")
