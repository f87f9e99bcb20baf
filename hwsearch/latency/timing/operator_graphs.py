"""One operator as a small ONNX model, several copies of it side by side.

A model in use holds many layers, so an operator seldom finds its weights in the nearest cache.
The copies, each with weights of its own, keep a probe from being faster than the model will be.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from hwsearch.bundle.graphs.decomposed import written_out
from hwsearch.bundle.graphs.tracing import OPSET
from hwsearch.bundle.products import quantise_products
from hwsearch.bundle.weights import Graph
from hwsearch.latency.operators import OpKey
from hwsearch.plan import WeightFormat
from hwsearch.runtime.providers import Provider

Feeds = dict[str, NDArray[np.float32]]

#: Copies of the operator in a probe, unless its weights alone fill every cache.
COPIES = 6

#: Weights of a probe's copies together need not be larger than this, in bytes.
ENOUGH_BYTES = 256e6


class Probe:
    """A probe under construction: nodes, float inputs, constants and outputs."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.feeds: Feeds = {}
        self.constants: list[onnx.TensorProto] = []
        self.outputs: list[str] = []
        self._rng = np.random.default_rng(seed)

    def feed(self, name: str, *shape: int) -> str:
        """A graph input with random content."""
        self.feeds[name] = self._rng.standard_normal(shape, dtype=np.float32)
        return name

    def constant(self, name: str, *shape: int) -> str:
        """A random constant, such as a weight."""
        value = self._rng.standard_normal(shape, dtype=np.float32) * 0.1
        self.constants.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def whole(self, name: str, value: int) -> str:
        """A whole number."""
        return self._fixed(name, np.array(value, dtype=np.int64))

    def wholes(self, name: str, *values: int) -> str:
        """Whole numbers, such as axes or a shape."""
        return self._fixed(name, np.array(values, dtype=np.int64))

    def _fixed(self, name: str, value: NDArray[np.int64]) -> str:
        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def node(self, op: str, inputs: list[str], *outputs: str, **attributes: Any) -> str:
        """A node called as its first output."""
        node = helper.make_node(op, inputs, list(outputs), name=outputs[0], **attributes)
        self.nodes.append(node)
        return outputs[0]

    def model(self) -> onnx.ModelProto:
        """The finished model."""
        inputs = [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape)
            for name, value in self.feeds.items()
        ]
        outputs = [onnx.ValueInfoProto(name=name) for name in self.outputs]
        graph = helper.make_graph(self.nodes, "probe", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
        return onnx.shape_inference.infer_shapes(model)


def copies_of(key: OpKey) -> int:
    """Copies of an operator in its probe."""
    return max(1, min(COPIES, round(ENOUGH_BYTES / max(weight_bytes(key), 1))))


def weight_bytes(key: OpKey) -> int:
    """Bytes of one copy's weights before they are quantised."""
    return 4 * key.in_features * key.out_features if key.kind == "linear" else 0


def build_probe(key: OpKey, copies: int | None = None) -> tuple[onnx.ModelProto, Feeds]:
    """The probe of an operator, and inputs to run it with; `copies_of` it unless said otherwise."""
    probe = Probe()
    for index in range(copies_of(key) if copies is None else copies):
        _BUILDERS[key.kind](probe, key, f"{key.kind}{index}")
    model = probe.model()
    if key.kind == "linear":
        formats = {node.name: WeightFormat(key.format) for node in model.graph.node}
        model = quantise_products(model, formats)
    return model, probe.feeds


def probe_for(provider: Provider, key: OpKey) -> tuple[onnx.ModelProto, Feeds]:
    """The probe of an operator as graphs for a provider have it, and inputs to run it with."""
    model, feeds = build_probe(key)
    return written_out(Graph(model, {}), provider.decomposed).model, feeds


def _linear(probe: Probe, key: OpKey, name: str) -> None:
    x = probe.feed(f"{name}.x", 1, key.rows, key.in_features)
    weight = probe.constant(f"{name}.weight", key.in_features, key.out_features)
    probe.outputs.append(probe.node("MatMul", [x, weight], f"{name}.y"))


def _norm(probe: Probe, key: OpKey, name: str) -> None:
    x = probe.feed(f"{name}.x", 1, key.rows, key.in_features)
    scale = probe.constant(f"{name}.scale", key.in_features)
    probe.outputs.append(probe.node("RMSNormalization", [x, scale], f"{name}.y", epsilon=1e-6))


def _swiglu(probe: Probe, key: OpKey, name: str) -> None:
    gate = probe.feed(f"{name}.gate", 1, key.rows, key.in_features)
    up = probe.feed(f"{name}.up", 1, key.rows, key.in_features)
    sigmoid = probe.node("Sigmoid", [gate], f"{name}.sigmoid")
    silu = probe.node("Mul", [gate, sigmoid], f"{name}.silu")
    probe.outputs.append(probe.node("Mul", [silu, up], f"{name}.y"))


def _rotary(probe: Probe, key: OpKey, name: str) -> None:
    x = probe.feed(f"{name}.x", 1, key.rows, key.in_features)
    half = key.in_features // key.heads // 2
    cos = probe.feed(f"{name}.cos", 1, key.rows, half)
    sin = probe.feed(f"{name}.sin", 1, key.rows, half)
    turned = probe.node("RotaryEmbedding", [x, cos, sin], f"{name}.y", num_heads=key.heads)
    probe.outputs.append(turned)


def _attention(probe: Probe, key: OpKey, name: str, want_mass: bool = False) -> None:
    """Rows against themselves, or against keys of which all but the rows come from the cache."""
    widths = {"q": key.out_features, "k": key.kv_size, "v": key.kv_size}
    qkv = [probe.feed(f"{name}.{part}", 1, key.rows, width) for part, width in widths.items()]
    kv_heads = key.kv_heads or key.heads
    cached = key.in_features - key.rows
    past = []
    if cached > 0:
        size = (1, kv_heads, cached, key.out_features // key.heads)
        past = ["", *(probe.feed(f"{name}.past_{part}", *size) for part in "kv")]
    outputs = [f"{name}.y", f"{name}.present_k", f"{name}.present_v"]
    heads: dict[str, Any] = {"q_num_heads": key.heads, "kv_num_heads": kv_heads}
    if want_mass:
        outputs.append(f"{name}.probability")
        heads["qk_matmul_output_mode"] = 3
    probe.outputs.append(probe.node("Attention", [*qkv, *past], *outputs, **heads))
    if want_mass:
        mass = [outputs[-1], probe.wholes(f"{name}.axes", 1, 2)]
        probe.outputs.append(probe.node("ReduceSum", mass, f"{name}.mass", keepdims=0))


def _attention_mass(probe: Probe, key: OpKey, name: str) -> None:
    _attention(probe, key, name, want_mass=True)


def _mean_query(probe: Probe, key: OpKey, name: str) -> None:
    """As `hwsearch.bundle.graphs` has it: mean over rows and grouped heads, product, mean over heads."""
    kv_heads, size = key.kv_heads or key.heads, key.out_features // key.heads
    query = probe.feed(f"{name}.q", 1, key.in_features, key.out_features)
    keys = probe.feed(f"{name}.k", 1, kv_heads, key.in_features, size)
    ends = [probe.whole(f"{name}.{part}", at) for part, at in (("from", 0), ("to", key.rows))]
    rows = probe.node("Range", [*ends, probe.whole(f"{name}.by", 1)], f"{name}.rows")
    block = probe.node("Gather", [query, rows], f"{name}.block", axis=1)
    mean = probe.node(
        "ReduceMean", [block, probe.wholes(f"{name}.row", 1)], f"{name}.mean", keepdims=0
    )
    shape = probe.wholes(f"{name}.shape", 1, kv_heads, -1, size)
    grouped = probe.node("Reshape", [mean, shape], f"{name}.grouped")
    pair = probe.wholes(f"{name}.pair", 2)
    shared = probe.node("ReduceMean", [grouped, pair], f"{name}.shared", keepdims=0)
    column = probe.node("Unsqueeze", [shared, probe.wholes(f"{name}.last", 3)], f"{name}.column")
    product = probe.node("MatMul", [keys, column], f"{name}.product")
    heads = probe.wholes(f"{name}.heads", 1, 3)
    probe.outputs.append(probe.node("ReduceMean", [product, heads], f"{name}.y", keepdims=0))


def _predict(probe: Probe, key: OpKey, name: str) -> None:
    logits = probe.feed(f"{name}.x", 1, key.rows, key.in_features)
    probe.outputs.append(probe.node("ArgMax", [logits], f"{name}.token", axis=-1, keepdims=0))
    softmax = probe.node("Softmax", [logits], f"{name}.softmax", axis=-1)
    axes = probe.wholes(f"{name}.axes", -1)
    confidence = probe.node("ReduceMax", [softmax, axes], f"{name}.confidence", keepdims=0)
    probe.outputs.append(confidence)


_BUILDERS: dict[str, Callable[[Probe, OpKey, str], None]] = {
    "linear": _linear,
    "attention": _attention,
    "attention-mass": _attention_mass,
    "mean-query": _mean_query,
    "norm": _norm,
    "swiglu": _swiglu,
    "rotary": _rotary,
    "predict": _predict,
}
