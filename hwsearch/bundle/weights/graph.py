"""A graph apart from its weights: no limit of 2 GB, and no weight in memory before it is written.

A protobuf message ends at 2 GB, and two graphs of one model hold the same weights twice. So a `Graph`
keeps its large initializers beside the protobuf; `hwsearch.bundle.weights.file` writes them once.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import onnx
import onnx_ir as ir
from onnx import numpy_helper

from hwsearch.bundle.weights.weight import Array, Weight, WeightGroup, held

Weights = Mapping[str, Weight]

#: Initializers of at least this many bytes are kept apart; smaller ones stay in the graph.
LEAST_BYTES = 1024


@dataclass(frozen=True)
class Graph:
    """An ONNX model whose large initializers are names only, and what makes their values.

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

    def weight(self, name: str) -> Weight:
        """An initializer, wherever it is kept."""
        if name in self.weights:
            return self.weights[name]
        tensor = next(t for t in self.model.graph.initializer if t.name == name)
        return held(numpy_helper.to_array(tensor))

    def value(self, name: str) -> Array:
        """The value of an initializer, wherever it is kept."""
        return self.weight(name).array()

    def whole(self) -> onnx.ModelProto:
        """One model with its weights inside, for models that are small enough."""
        return self.holding(self.weights.keys()).model

    def holding(self, names: Set[str]) -> Graph:
        """The graph with some of its weights inside."""
        model = self.copy().model
        made: dict[WeightGroup, dict[str, Array]] = {}
        for tensor in model.graph.initializer:
            if tensor.name in names:
                weight = self.weights[tensor.name]
                if weight.group not in made:
                    made[weight.group] = weight.group.arrays()
                value = made[weight.group][weight.part]
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        return Graph(model, {n: w for n, w in self.weights.items() if n not in names})


def detach(model: ir.Model) -> Graph:
    """A traced model without its large initializers, which are taken out as they are."""
    weights: dict[str, Weight] = {}
    for name, value in model.graph.initializers.items():
        tensor = value.const_value
        assert tensor is not None, f"initializer {name} has no value"
        if tensor.nbytes >= LEAST_BYTES:
            weights[name] = held(tensor.numpy())
            value.const_value = ir.ExternalTensor(
                "", None, None, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name
            )
    return Graph(ir.to_proto(model), weights)


def declared(name: str, weight: Weight) -> tuple[onnx.TensorProto, Weight | None]:
    """The initializer of a weight: by name and shape alone, or whole where it is small by itself."""
    # arrays that are made together are written together
    if weight.nbytes < LEAST_BYTES and len(weight.group.specs) == 1:
        return numpy_helper.from_array(weight.array(), name), None
    kind = onnx.helper.np_dtype_to_tensor_dtype(weight.dtype)
    return onnx.TensorProto(name=name, data_type=kind, dims=weight.shape), weight
