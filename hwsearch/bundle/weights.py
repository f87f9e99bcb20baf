"""Weights apart from their graphs: one file for both graphs of a bundle, and no limit of 2 GB.

A protobuf message ends at 2 GB, and two graphs of one model hold the same weights twice. So a
`Graph` keeps its large initializers beside the protobuf, and a `WeightsFile` writes each distinct
array once; the graphs point into it (ONNX's external data), and onnxruntime maps it into memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import onnx
import onnx_ir as ir
from numpy.typing import NDArray
from onnx import external_data_helper, numpy_helper

Weights = Mapping[str, NDArray[np.generic]]

#: Initializers of at least this many bytes are kept apart; smaller ones stay in the graph.
LEAST_BYTES = 1024

#: Where an array begins: large ones on a page of memory, small ones on a line of the cache.
_PAGE, _LINE = 4096, 64


@dataclass(frozen=True)
class Graph:
    """An ONNX model whose large initializers are names only, and their values.

    Attributes:
        model: the graph; initializers of `weights` have a type and a shape and no data.
        weights: large initializers by name.
    """

    model: onnx.ModelProto
    weights: Weights

    def copy(self) -> Graph:
        """A graph whose model may be changed; the weights are shared."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return Graph(model, self.weights)

    def value(self, name: str) -> NDArray[np.generic]:
        """The value of an initializer, wherever it is kept."""
        if name in self.weights:
            return self.weights[name]
        tensor = next(t for t in self.model.graph.initializer if t.name == name)
        return numpy_helper.to_array(tensor)

    def whole(self) -> onnx.ModelProto:
        """One model with its weights inside, for models that are small enough."""
        model = self.copy().model
        for tensor in model.graph.initializer:
            if tensor.name in self.weights:
                tensor.CopyFrom(numpy_helper.from_array(self.weights[tensor.name], tensor.name))
        return model


def detach(model: ir.Model) -> Graph:
    """A traced model without its large initializers, which are taken out as they are."""
    weights: dict[str, NDArray[np.generic]] = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        assert tensor is not None, f"initializer {name} has no value"
        if tensor.nbytes >= LEAST_BYTES:
            weights[name] = tensor.numpy()
            value.const_value = ir.ExternalTensor(
                "", None, None, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
            )
    return Graph(ir.to_proto(model), weights)


def detached(tensor: onnx.TensorProto) -> NDArray[np.generic] | None:
    """The value of an initializer that is large enough to be kept apart, taken out of it."""
    array = numpy_helper.to_array(tensor)
    if array.nbytes < LEAST_BYTES:
        return None
    tensor.ClearField("raw_data")
    return array


class WeightsFile:
    """Writes arrays one after the other, each distinct one once. A context manager.

    Args:
        path: the file to write; graphs that point into it must lie in its folder.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("wb")
        self._written: dict[bytes, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def save(self, graph: Graph, path: Path) -> None:
        """Write a graph that points into this file."""
        model = graph.copy().model
        for tensor in model.graph.initializer:
            if tensor.name in graph.weights:
                array = np.ascontiguousarray(graph.weights[tensor.name])
                # the helper asks for data to move out; there is none any more
                tensor.raw_data = b""
                external_data_helper.set_external_data(
                    tensor, self._path.name, self._write(array), array.nbytes
                )
                tensor.ClearField("raw_data")
        onnx.save(model, path)

    def _write(self, array: NDArray[np.generic]) -> int:
        """Offset of an array's bytes."""
        data = array.reshape(-1).view(np.uint8).data
        digest = hashlib.sha256(data).digest()
        if digest not in self._written:
            # a page in front of a small array would be a noticeable share of it
            step = _PAGE if array.nbytes >= 256 * _PAGE else _LINE
            self._file.seek(-self._file.tell() % step, 1)
            self._written[digest] = self._file.tell()
            self._file.write(data)
        return self._written[digest]
