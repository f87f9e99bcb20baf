"""Trace the two passes to ONNX, in float, with every product under a name of its own."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from torch import nn

from hwsearch.bundle.graphs import (
    FusedLayer,
    FusedTransformer,
    Projection,
    RefreshGraph,
    StepGraph,
)
from hwsearch.bundle.weights import Graph, detach
from hwsearch.decoding.backend import GREEDY, Sampling
from hwsearch.decoding.signals import Signal
from hwsearch.denoisers.transformer import Transformer
from hwsearch.runtime.probe import LOGITS

#: Opset with Attention, RotaryEmbedding and RMSNormalization as single operators.
OPSET = 23

#: Longest sequence (and most kept positions) that a graph takes.
MAX_LENGTH = 4096

_NAME_SCOPES = "pkg.torch.onnx.name_scopes"


def refresh_model(
    network: Transformer,
    block_length: int,
    signal_layers: frozenset[int],
    sampling: Sampling = GREEDY,
    signal: Signal = Signal.MASS,
) -> Graph:
    """The refresh pass, of any length from one block and one position up, as a float ONNX model."""
    graph = RefreshGraph(network, block_length, signal_layers, sampling, signal).eval()
    length = torch.export.Dim("length", min=block_length + 1, max=MAX_LENGTH)
    tokens = torch.zeros(1, 2 * block_length + 3, dtype=torch.int64)
    noise = _noise(graph, block_length)
    return trace(
        graph,
        (tokens, torch.tensor(block_length), *noise),
        dynamic_shapes=({1: length}, None, *(None for _ in noise)),
        input_names=graph.input_names(),
        output_names=graph.output_names(),
    )


def step_model(network: Transformer, block_length: int, sampling: Sampling = GREEDY) -> Graph:
    """The step pass of one block as a float ONNX model; each layer keeps its own number of positions."""
    graph = StepGraph(network, sampling).eval()
    tokens = torch.zeros(1, block_length, dtype=torch.int64)
    past, kept = [], []
    for index, layer in enumerate(graph.layers):
        # lengths that differ, and differ from the block's, lest the tracer take them for one
        assert isinstance(layer, FusedLayer)
        g = layer.geometry
        size = (1, g.num_kv_heads, block_length + 3 + index, g.head_dim)
        past += [torch.zeros(size), torch.zeros(size)]
        kept += [{2: torch.export.Dim(f"kept_{index}", min=1, max=MAX_LENGTH)}] * 2
    before = [torch.zeros(1, 1, g.hidden_size)] * g.logit_shift
    ends = (*before, *_noise(graph, block_length))
    return trace(
        graph,
        (tokens, torch.tensor(block_length), *past, *ends),
        dynamic_shapes=(None, None, (*kept, *(None for _ in ends))),
        input_names=graph.input_names(),
        output_names=["token", "confidence"],
    )


def _noise(graph: FusedTransformer, block_length: int) -> list[torch.Tensor]:
    shape = (1, block_length, graph.geometry.vocab_size)
    return [torch.zeros(shape, dtype=torch.float64) for _ in graph.noise_names()]


def trace(graph: nn.Module, args: tuple[torch.Tensor, ...], **names: object) -> Graph:
    """A module as a float ONNX model; every `Projection` in it becomes a MatMul called by its path."""
    with _quiet():
        program = torch.onnx.export(
            graph,
            args,
            dynamo=True,
            opset_version=OPSET,
            verbose=False,
            **names,  # type: ignore[arg-type]
        )
    assert program is not None
    traced = detach(program.model)
    model = traced.model
    _name_products(model, {n for n, m in graph.named_modules() if isinstance(m, Projection)})
    _name_logits(model)
    for node in model.graph.node:
        if node.op_type == "Attention":
            _complete_attention(node)
    _forget_shapes(model)
    _forget_origins(model)
    return traced


def _name_logits(model: onnx.ModelProto) -> None:
    """Call the value that tokens are chosen from `LOGITS`, so that whoever verifies can ask for it.

    It is no output: a session that is not asked for logits does not hand them out.
    """
    made_by = {output: node for node in model.graph.node for output in node.output}
    chosen = made_by["token"]
    while chosen.op_type != "ArgMax":
        chosen = made_by[chosen.input[0]]
    value = chosen.input[0]
    drawn = made_by[value]
    if "noise" in drawn.input:
        (value,) = (name for name in drawn.input if name != "noise")
        value = made_by[value].input[0]  # noise is added in float64
    for node in model.graph.node:
        node.input[:] = [LOGITS if name == value else name for name in node.input]
        node.output[:] = [LOGITS if name == value else name for name in node.output]


def _complete_attention(node: onnx.NodeProto) -> None:
    """Name the joined keys and values of an Attention with a past: onnxruntime writes them always."""
    has_past = len(node.input) > 4
    if has_past and len(node.output) == 1:
        node.output.extend(f"{node.name}_present_{kind}" for kind in ("key", "value"))


def _forget_shapes(model: onnx.ModelProto) -> None:
    """Drop inner shapes, and correct those of the masses: the exporter takes Attention's for empty."""
    del model.graph.value_info[:]
    for output in model.graph.output:
        if output.name.startswith("mass_"):
            output.type.tensor_type.shape.dim[1].dim_param = "length"


def _forget_origins(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes of each node, stack traces among it: most of a graph's bytes."""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, model.graph, model):
        del part.metadata_props[:]


def _name_products(model: onnx.ModelProto, paths: set[str]) -> None:
    """Call each MatMul of a `Projection` by its path (``layers.0.qkv``), and check that all are there."""
    found = set()
    for node in model.graph.node:
        scopes = next((p.value for p in node.metadata_props if p.key == _NAME_SCOPES), "")
        path = next((p for p in sorted(paths) if f"'{p}'" in scopes), None)
        if node.op_type == "MatMul" and path is not None:
            node.name = path
            found.add(path)
    missing = sorted(paths - found)
    assert not missing, f"products {missing} did not become a MatMul: the exporter has changed"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which prints its progress and warns about its own internals."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
