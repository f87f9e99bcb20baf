"""Large arrays of a graph, made when they are written and some outputs at a time.

A model's weights may be larger than memory. So a graph names them, and a `WeightGroup` makes them piece by
piece: a float matrix from the linears that it joins, the codes and scales of a format from that matrix.
Nothing is held that has been written.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from hwsearch.formats.weight_format import Spec

Array = NDArray[np.generic]

#: Bytes of float weights that are made at once.
PIECE_BYTES = 64 << 20


class WeightGroup(ABC):
    """Arrays that are made together.

    Attributes:
        specs: of each array, by what it is called within the group.
        outputs: how many outputs there are to make.
        at_once: how many are made at once.
    """

    specs: Mapping[str, Spec]
    outputs: int
    at_once: int

    @abstractmethod
    def make(self, start: int, stop: int) -> Mapping[str, Array]:
        """Outputs start..stop of every array."""

    def fill(self, arrays: Mapping[str, Array]) -> None:
        """Write all outputs into arrays that are there, in memory or mapped from a file."""
        for start, stop in self.pieces():
            for name, piece in self.make(start, stop).items():
                arrays[name][self.specs[name].outputs(start, stop)] = piece

    def arrays(self) -> dict[str, Array]:
        """All of them, in memory."""
        arrays = {name: np.empty(spec.shape, spec.dtype) for name, spec in self.specs.items()}
        self.fill(arrays)
        return arrays

    def pieces(self) -> Iterator[tuple[int, int]]:
        """Outputs that are made together, ``(start, stop)`` in turn."""
        for start in range(0, self.outputs, self.at_once):
            yield start, min(start + self.at_once, self.outputs)

    def weights(self) -> dict[str, Weight]:
        """The arrays, by what each is called."""
        return {name: Weight(self, name) for name in self.specs}


@dataclass(frozen=True, eq=False)
class Weight:
    """One array of a group.

    Attributes:
        group: makes it.
        part: what it is called there.
    """

    group: WeightGroup
    part: str

    @property
    def spec(self) -> Spec:
        """Type and shape."""
        return self.group.specs[self.part]

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes."""
        return self.spec.shape

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """Type of its values."""
        return self.spec.dtype

    @property
    def nbytes(self) -> int:
        """Bytes of it."""
        return self.spec.nbytes

    def array(self) -> Array:
        """All of it, in memory."""
        if isinstance(self.group, Held):
            return self.group.value
        return self.group.arrays()[self.part]


class Held(WeightGroup):
    """An array that is in memory already."""

    def __init__(self, value: Array) -> None:
        self.value = value
        self.specs = {"": Spec(value.dtype, value.shape, 0)}
        self.outputs = self.at_once = value.shape[0] if value.shape else 1

    def make(self, start: int, stop: int) -> Mapping[str, Array]:
        """Some rows of it."""
        return {"": self.value[start:stop]}


def held(value: Array) -> Weight:
    """An array in memory as a weight."""
    return Weight(Held(value), "")


class FloatRows(WeightGroup):
    """Tensors below each other in float32, ``[out, ...]``, whatever type they are stored in."""

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        self.tensors = [tensor.detach() for tensor in tensors]
        self.outputs = sum(len(tensor) for tensor in self.tensors)
        rest = tuple(self.tensors[0].shape[1:])
        self.at_once = max(1, PIECE_BYTES // (4 * math.prod(rest)))
        self.specs = {"": Spec(np.dtype(np.float32), (self.outputs, *rest), 0)}

    def rows(self, start: int, stop: int) -> NDArray[np.float32]:
        """Rows start..stop of all of them."""
        found, first = [], 0
        for tensor in self.tensors:
            low, high = max(start - first, 0), min(stop - first, len(tensor))
            if low < high:
                found.append(tensor[low:high].float().cpu().numpy())
            first += len(tensor)
        return found[0] if len(found) == 1 else np.concatenate(found)

    def make(self, start: int, stop: int) -> Mapping[str, Array]:
        """Some rows."""
        return {"": self.rows(start, stop)}


class FloatMatrix(FloatRows):
    """The weights ``[out, in]`` of linears with the same inputs as one product's, ``[in, out]``."""

    def __init__(self, weights: Sequence[Tensor]) -> None:
        super().__init__(weights)
        outputs, inputs = self.specs[""].shape
        self.specs = {"": Spec(np.dtype(np.float32), (inputs, outputs), 1)}

    def make(self, start: int, stop: int) -> Mapping[str, Array]:
        """Some columns."""
        return {"": self.rows(start, stop).T}


def matrix_of(weight: Weight) -> WeightGroup:
    """What makes the float matrix ``[in, out]`` of a product, some outputs at a time."""
    group = weight.group
    # what is made by its second axis is made by outputs already
    return group if weight.spec.axis == 1 else _Columns(weight.array())


class _Columns(WeightGroup):
    """A matrix ``[in, out]`` in memory, by columns."""

    def __init__(self, value: Array) -> None:
        self.value = value
        inputs, self.outputs = value.shape
        self.at_once = max(1, PIECE_BYTES // (4 * inputs))
        self.specs = {"": Spec(value.dtype, value.shape, 1)}

    def make(self, start: int, stop: int) -> Mapping[str, Array]:
        """Some columns."""
        return {"": self.value[:, start:stop]}
