"""The one graph of a module of one's own: a full pass, its named linears as products with a format."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from hwsearch.bundle.graphs.pieces import GraphLayout, Projection
from hwsearch.bundle.graphs.predictions import example_inputs, input_names, output_names, predicted
from hwsearch.bundle.graphs.tracing import trace
from hwsearch.bundle.products import ProductBank
from hwsearch.bundle.rounded import NONE_ROUNDED, RoundedProducts
from hwsearch.bundle.tied import share_head
from hwsearch.bundle.weights import Graph
from hwsearch.compression.bank import linear_formats
from hwsearch.compression.swap import swapped
from hwsearch.decoding.backend import GumbelNoise
from hwsearch.denoisers.network import Network, linear_sizes
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan

#: A float graph's confidences may differ this much from torch's.
TOLERANCE = 1e-3


class FullPassGraph(nn.Module):
    """A network whose linears are products, and the predictions of one block."""

    def __init__(self, network: Network, layout: GraphLayout) -> None:
        super().__init__()
        paths = network.linear_groups().paths()
        self.network = swapped(network, {p: Projection.of(network.get_submodule(p)) for p in paths})
        self.layout = layout

    def forward(self, tokens: Tensor, start: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        """Predictions of tokens ``[1, length]`` at the block; see `hwsearch.bundle.graphs.predictions`."""
        logits, sampling = self.network(tokens), self.layout.sampling
        block = logits.index_select(1, start + torch.arange(self.layout.block_length)).float()
        return predicted(block, sampling, dict(zip(input_names(sampling), rest, strict=True)))


class TracedFullPass:
    """The float graph of one network in one layout, traced once.

    Args:
        network: maps tokens ``[batch, length]`` to logits.
        layout: what it predicts, and how.

    Raises:
        InputError: the layout asks for rows of their own, and there are full passes only.
    """

    def __init__(self, network: Network, layout: GraphLayout) -> None:
        if layout.is_windowed:
            raise InputError(
                "a model of one's own has full passes only: decode it without window and suffix_window"
            )
        self._network = network
        self._layout = layout
        self._bank = ProductBank()

    def refresh(self) -> Graph:
        """A fresh graph.

        Raises:
            InputError: the module cannot be traced, or its graph computes something else.
        """
        return self._traced.copy()

    def quantised(
        self,
        graph: Graph,
        plan: CompressionPlan,
        rounded: RoundedProducts = NONE_ROUNDED,
    ) -> Graph:
        """The graph with each named linear in its planned format.

        Raises:
            PlanError: a format that onnxruntime does not run.
        """
        groups = self._network.linear_groups()
        formats = linear_formats(plan, groups)
        named = {f"network.{path}": fmt for path, fmt in formats.items()}
        quantised = self._bank.quantise(graph, named, rounded)
        tied = linear_sizes(self._network).tied_head
        return share_head(quantised, f"network.{groups.head}") if tied else quantised

    @cached_property
    def _traced(self) -> Graph:
        module = FullPassGraph(self._network, self._layout).eval()
        block, sampling = self._layout.block_length, self._layout.sampling
        tokens = torch.zeros(1, 2 * block + 3, dtype=torch.int64)
        rest = self._rest(tokens)
        shapes: tuple[object, ...] = ({1: torch.export.Dim.DYNAMIC}, None)
        try:
            graph = trace(
                module,
                (tokens, torch.tensor(block), *rest),
                dynamic_shapes=(*shapes, tuple({} for _ in rest)) if rest else shapes,
                input_names=["tokens", "start", *input_names(sampling)],
                output_names=output_names(sampling),
            )
        except Exception as error:  # the tracer raises what it likes
            raise InputError(
                "the module cannot be traced to ONNX for sequences of any length, so it can be "
                f"compressed, scored and decoded in torch only: {_first_line(error)}"
            ) from error
        self._check(graph)
        return graph

    def _rest(self, tokens: Tensor) -> list[Tensor]:
        sampling = self._layout.sampling
        if not input_names(sampling):
            return []
        with torch.inference_mode():
            vocabulary = self._network(tokens).shape[2]
        return example_inputs(sampling, self._layout.block_length, vocabulary)

    def _check(self, graph: Graph) -> None:
        """Run the graph beside torch at another length than the traced one."""
        start, block, sampling = 2, self._layout.block_length, self._layout.sampling
        tokens = torch.zeros(1, block + 5, dtype=torch.int64)
        given = dict(zip(input_names(sampling), self._rest(tokens), strict=True))
        if "noise" in given:
            given["noise"] = torch.from_numpy(GumbelNoise(sampling).draw(*given["noise"].shape))
        with torch.inference_mode():
            logits = self._network(tokens)[:, start : start + block].float()
            wanted = predicted(logits, sampling, given)
        feeds = {"tokens": tokens.numpy(), "start": np.array(start)}
        feeds |= {name: value.numpy() for name, value in given.items()}
        session = onnxruntime.InferenceSession(graph.whole().SerializeToString())
        found = session.run(["confidence"], feeds)[0]
        if not np.allclose(found, wanted[1].numpy(), atol=TOLERANCE):
            raise InputError(
                "the module's ONNX graph computes something else than the module; a named linear "
                "must be called as a module, and not have its weight read by others"
            )


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
