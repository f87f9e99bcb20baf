"""The one graph of a module of one's own: a full pass, its named linears as products with a format."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import onnxruntime
import torch
from torch import Tensor, nn

from hwsearch.bundle.graphs import Projection, predicted
from hwsearch.bundle.onnx_graphs import trace
from hwsearch.bundle.products import ProductBank
from hwsearch.bundle.tied import share_head
from hwsearch.bundle.weights import Graph
from hwsearch.compression.bank import linear_formats
from hwsearch.compression.swap import swapped
from hwsearch.decoding.backend import GREEDY, GumbelNoise, Sampling
from hwsearch.denoisers.network import Network, linear_sizes
from hwsearch.errors import InputError
from hwsearch.plan import CompressionPlan

#: A float graph's confidences may differ this much from torch's.
TOLERANCE = 1e-3


class FullPassGraph(nn.Module):
    """A network whose linears are products, and the predictions of one block."""

    def __init__(self, network: Network, block_length: int, sampling: Sampling) -> None:
        super().__init__()
        paths = network.linear_groups().paths()
        self.network = swapped(network, {p: Projection(network.get_submodule(p)) for p in paths})
        self.block_length = block_length
        self.sampling = sampling

    def forward(
        self, tokens: Tensor, start: Tensor, noise: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Token and confidence ``[1, block]`` of tokens ``[1, length]`` at the block."""
        logits = self.network(tokens)
        block = logits.index_select(1, start + torch.arange(self.block_length)).float()
        return predicted(block, self.sampling, noise)


class TracedFullPass:
    """The float graph of one network at one block length, traced once.

    Args:
        network: maps tokens ``[batch, length]`` to logits.
        block_length: positions that the graph predicts.
        sampling: how it chooses tokens, and what confidence is.
    """

    def __init__(self, network: Network, block_length: int, sampling: Sampling = GREEDY) -> None:
        self._network = network
        self._block_length = block_length
        self._sampling = sampling
        self._bank = ProductBank()

    def refresh(self) -> Graph:
        """A fresh graph.

        Raises:
            InputError: the module cannot be traced, or its graph computes something else.
        """
        return self._traced.copy()

    def quantised(self, graph: Graph, plan: CompressionPlan) -> Graph:
        """The graph with each named linear in its planned format.

        Raises:
            PlanError: a format that onnxruntime does not run.
        """
        groups = self._network.linear_groups()
        formats = linear_formats(plan, groups)
        named = {f"network.{path}": fmt for path, fmt in formats.items()}
        quantised = self._bank.quantise(graph, named)
        tied = linear_sizes(self._network).tied_head
        return share_head(quantised, f"network.{groups.head}") if tied else quantised

    @cached_property
    def _traced(self) -> Graph:
        module = FullPassGraph(self._network, self._block_length, self._sampling).eval()
        tokens = torch.zeros(1, 2 * self._block_length + 3, dtype=torch.int64)
        args = (tokens, torch.tensor(self._block_length), *self._noise(tokens))
        names = ["tokens", "start", "noise"][: len(args)]
        shapes = ({1: torch.export.Dim.DYNAMIC}, None, None)[: len(args)]
        try:
            graph = trace(
                module,
                args,
                dynamic_shapes=shapes,
                input_names=names,
                output_names=["token", "confidence"],
            )
        except Exception as error:  # the tracer raises what it likes
            raise InputError(
                "the module cannot be traced to ONNX for sequences of any length, so it can be "
                f"compressed, scored and decoded in torch only: {_first_line(error)}"
            ) from error
        self._check(graph)
        return graph

    def _noise(self, tokens: Tensor) -> tuple[Tensor, ...]:
        if self._sampling.temperature == 0:
            return ()
        with torch.inference_mode():
            vocabulary = self._network(tokens).shape[2]
        return (torch.zeros(1, self._block_length, vocabulary, dtype=torch.float64),)

    def _check(self, graph: Graph) -> None:
        """Run the graph beside torch at another length than the traced one."""
        start, block = 2, self._block_length
        tokens = torch.zeros(1, block + 5, dtype=torch.int64)
        noise = None
        for empty in self._noise(tokens):
            noise = torch.from_numpy(GumbelNoise(self._sampling).draw(*empty.shape))
        with torch.inference_mode():
            logits = self._network(tokens)[:, start : start + block].float()
            wanted = predicted(logits, self._sampling, noise)
        feeds = {"tokens": tokens.numpy(), "start": np.array(start)}
        if noise is not None:
            feeds["noise"] = noise.numpy()
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
