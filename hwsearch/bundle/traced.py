"""The two float graphs of a denoiser, traced once; every plan's graphs are made from them.

Tracing takes seconds and depends on the model alone. What a plan changes can be changed in the
graph: the formats of the products, and which layers hand out their attention mass.
"""

from __future__ import annotations

from functools import cached_property

import onnx

from hwsearch.bundle.graphs import GraphLayout
from hwsearch.bundle.onnx_graphs import refresh_model, step_model
from hwsearch.bundle.products import ProductBank
from hwsearch.bundle.quantise import product_formats
from hwsearch.bundle.tied import share_head
from hwsearch.bundle.weights import Graph
from hwsearch.decoding.kept import Signal
from hwsearch.denoisers.transformer import Transformer
from hwsearch.plan import CompressionPlan


class TracedGraphs:
    """Float graphs of one network in one layout.

    Args:
        network: the uncompressed transformer.
        layout: what else the graphs depend on.
    """

    def __init__(self, network: Transformer, layout: GraphLayout) -> None:
        self._network = network
        self._layout = layout
        self._bank = ProductBank()

    def refresh(self, signal_layers: frozenset[int], signal: Signal = Signal.MASS) -> Graph:
        """A fresh refresh graph that hands out what some layers choose their positions by.

        Products with the block's mean query are not in the traced graph, so a graph that hands
        them out is traced by itself.
        """
        if signal is Signal.QUERY:
            return refresh_model(self._network, self._layout, signal_layers, signal)
        graph = self._refresh.copy()
        layers = range(self._network.geometry.num_layers)
        kept = signal_layers if signal is Signal.MASS else frozenset()
        drop_mass(graph.model, frozenset(layers) - kept)
        return graph

    def step(self) -> Graph:
        """A fresh step graph."""
        return self._step.copy()

    def quantised(self, graph: Graph, plan: CompressionPlan) -> Graph:
        """A graph of this network with each product in its planned format.

        Raises:
            PlanError: a format that onnxruntime does not run.
        """
        quantised = self._bank.quantise(graph, product_formats(plan))
        tied = self._network.geometry.tie_embeddings
        return share_head(quantised, "head") if tied else quantised

    @cached_property
    def _refresh(self) -> Graph:
        every = frozenset(range(self._network.geometry.num_layers))
        return refresh_model(self._network, self._layout, every)

    @cached_property
    def _step(self) -> Graph:
        return step_model(self._network, self._layout)


def drop_mass(model: onnx.ModelProto, layers: frozenset[int]) -> None:
    """Remove the mass outputs of some layers from a refresh graph, in place.

    The sum over heads and queries goes, and Attention no longer hands out its probabilities.
    """
    graph = model.graph
    names = {f"mass_{layer}" for layer in layers}
    sums = [node for node in graph.node if names & set(node.output)]
    probabilities = {node.input[0] for node in sums}
    assert len(sums) == len(names), f"masses {sorted(names)} should be outputs of one node each"
    for node in sums:
        graph.node.remove(node)
    for node in graph.node:
        if node.op_type == "Attention" and probabilities & set(node.output):
            del node.output[3:]
            kept = [a for a in node.attribute if a.name != "qk_matmul_output_mode"]
            del node.attribute[:]
            node.attribute.extend(kept)
    outputs = [output for output in graph.output if output.name not in names]
    del graph.output[:]
    graph.output.extend(outputs)
