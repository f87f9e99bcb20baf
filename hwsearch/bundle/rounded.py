"""Products that were rounded by calibration, as a graph holds them: codes, and scales of inputs folded away.

A linear's inputs may be divided by powers of two. In a graph nothing divides: what makes these inputs
makes them smaller. Before the query and the gate projections that is a norm; before the output projection
the rows of the value projection, since attention mixes values feature by feature; before the down
projection the rows of the up projection. Scales of weights belong to rows in every format, so rows scaled
by powers of two round as they did, and what folds into a product depends on no other format.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from hwsearch.bundle.weights import Array, Graph, Weight, WeightGroup
from hwsearch.denoisers.network import Network
from hwsearch.denoisers.transformer import Layer, Transformer
from hwsearch.formats.catalog import format_of
from hwsearch.formats.integer_format import RoundedWeight
from hwsearch.formats.weight_format import Spec
from hwsearch.plan import WeightFormat

#: What outputs, or entries of a norm, are multiplied by: powers of two.
Factors = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class RoundedProducts:
    """What a network's products were rounded to by calibration.

    Attributes:
        weights: of each product that was, by its node's name: those of its linears side by side.
        factors: of weights and biases in the float graph, by name, where a scale folds into them.
    """

    weights: Mapping[str, tuple[RoundedWeight, ...]] = field(default_factory=dict)
    factors: Mapping[str, Factors] = field(default_factory=dict)

    @classmethod
    def of(cls, network: Network) -> RoundedProducts:
        """Those of a compressed network."""
        if not isinstance(network, Transformer):
            paths = network.linear_groups().paths()
            linears = {f"network.{path}": [network.get_submodule(path)] for path in paths}
            return cls(dict(_rounded(linears)))
        products = dict(_rounded({"head": [network.lm_head]}))
        factors = dict(_inverse_scale(products, "head", "norm.weight"))
        for index, layer in enumerate(network.model.layers):
            assert isinstance(layer, Layer), "a transformer is made of these"
            prefix = f"layers.{index}."
            own = dict(_rounded(_linears(layer)))
            products |= {prefix + name: weights for name, weights in own.items()}
            factors |= {prefix + name: value for name, value in _folds(layer, own)}
        return cls(products, factors)

    @property
    def origins(self) -> list[str]:
        """Digests of the calibrations that they come from."""
        return sorted({one.origin for weights in self.weights.values() for one in weights})

    def fold(self, graph: Graph) -> Graph:
        """A float graph with scales folded into its weights."""
        if not self.factors:
            return graph
        model, weights = graph.copy().model, dict(graph.weights)
        for tensor in model.graph.initializer:
            if tensor.name not in self.factors:
                continue
            if tensor.name in weights:
                weights[tensor.name] = self._scaled(tensor.name, weights[tensor.name])
            else:
                factors = self.factors[tensor.name]
                value = numpy_helper.to_array(tensor) * factors
                tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
        return Graph(model, weights)

    def _scaled(self, name: str, weight: Weight) -> Weight:
        """A scaled weight; the same for all graphs, so that they share it."""
        if name not in self._folded:
            self._folded[name] = Weight(ScaledOutputs(weight, self.factors[name]), "")
        return self._folded[name]

    @cached_property
    def _folded(self) -> dict[str, Weight]:
        return {}


#: Of a network of which nothing was rounded by calibration.
NONE_ROUNDED = RoundedProducts()


class ScaledOutputs(WeightGroup):
    """A weight whose outputs are multiplied by factors ``[out]``."""

    def __init__(self, weight: Weight, factors: Factors) -> None:
        self._weight, self._factors = weight, factors
        self.specs = {"": weight.spec}
        self.outputs, self.at_once = weight.group.outputs, weight.group.at_once

    def make(self, start: int, stop: int) -> Mapping[str, Array]:
        """Some outputs."""
        piece = self._weight.group.make(start, stop)[self._weight.part]
        factors = _along(self._factors[start:stop], self._weight.spec)
        return {"": np.multiply(piece, factors, dtype=np.float32)}


class CodedMatrix(WeightGroup):
    """The arrays of a product whose linears were rounded before.

    Args:
        name: of the product.
        fmt: its format.
        weights: of its linears, side by side.
        inputs: of the product.
        factors: of its outputs; None for 1.
    """

    def __init__(
        self,
        name: str,
        fmt: WeightFormat,
        weights: Sequence[RoundedWeight],
        inputs: int,
        factors: Factors | None,
    ) -> None:
        self._form, self._weights, self._factors = format_of(fmt), weights, factors
        self._prefix = f"{name}.weight"
        part = self._form.scaled_part
        self._counts = [one.codes[part].shape[0] for one in weights]
        self.outputs = sum(self._counts)
        self.at_once = max(1, (16 << 20) // inputs)
        self._parts = self._form.specs(inputs, self.outputs)
        self.specs = {self._prefix + part: spec for part, spec in self._parts.items()}

    def make(self, start: int, stop: int) -> Mapping[str, Array]:
        """Codes of some outputs."""
        pieces, first = [], 0
        for one, count in zip(self._weights, self._counts, strict=True):
            low, high = max(start - first, 0), min(stop - first, count)
            if low < high:
                pieces.append(
                    {n: one.codes[n][spec.outputs(low, high)] for n, spec in self._parts.items()}
                )
            first += count
        codes: Mapping[str, Array] = {
            n: np.concatenate([piece[n] for piece in pieces], axis=spec.axis)
            for n, spec in self._parts.items()
        }
        if self._factors is not None:
            codes = self._form.scale_outputs(codes, self._factors[start:stop])
        return {self._prefix + part: array for part, array in codes.items()}


def _along(factors: Factors, spec: Spec) -> Factors:
    shape = [1] * len(spec.shape)
    shape[spec.axis] = -1
    return factors.reshape(shape)


def _linears(layer: Layer) -> dict[str, list[nn.Module]]:
    """Linears of each product, side by side as the graph has them."""
    attention, mlp = layer.self_attn, layer.mlp
    return {
        "qkv": [attention.q_proj, attention.k_proj, attention.v_proj],
        "out": [attention.o_proj],
        "gate_up": [mlp.gate_proj, mlp.up_proj],
        "down": [mlp.down_proj],
    }


def _rounded(
    products: Mapping[str, Sequence[nn.Module]],
) -> Iterator[tuple[str, tuple[RoundedWeight, ...]]]:
    for name, linears in products.items():
        found = [getattr(linear, "rounded", None) for linear in linears]
        weights = tuple(one for one in found if isinstance(one, RoundedWeight))
        if weights:
            assert len(weights) == len(linears), f"{name}: linears of one product are rounded alike"
            yield name, weights


def _inverse_scale(
    products: Mapping[str, tuple[RoundedWeight, ...]], product: str, *names: str
) -> Iterator[tuple[str, Factors]]:
    """What folds of a product's scale, if it has one, into each of some weights: its linears share it."""
    scale = products[product][0].scale if product in products else None
    if scale is not None:
        for name in names:
            yield name, scale.float().reciprocal().cpu().numpy()


def _folds(
    layer: Layer, own: Mapping[str, tuple[RoundedWeight, ...]]
) -> Iterator[tuple[str, Factors]]:
    """Where the scales of a layer's products go, by name within the layer."""
    yield from _inverse_scale(own, "qkv", "input_norm.weight")
    yield from _inverse_scale(own, "gate_up", "mlp_norm.weight")
    for name, inverse in _inverse_scale(own, "down", "gate_up.weight"):
        yield name, np.concatenate([np.ones_like(inverse), inverse])
    for name, inverse in _inverse_scale(own, "out", "qkv.weight", "qkv.bias"):
        g = layer.self_attn.geometry
        # query heads that share a value head have the scale of its features
        heads = inverse.reshape(g.num_kv_heads, -1, g.head_dim)[:, 0].reshape(-1)
        others = np.ones(g.query_size + g.kv_size, np.float32)
        yield name, np.concatenate([others, heads])
