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
    GraphLayout,
    Projection,
    RefreshGraph,
    StepGraph,
    WindowGraph,
)
from hwsearch.bundle.predictions import example_inputs
from hwsearch.bundle.weights import Graph, detach
from hwsearch.decoding.kept import Signal
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.transformer import Transformer
from hwsearch.runtime.probe import LOGITS
from hwsearch.runtime.state import CREDIT

#: Opset with Attention, RotaryEmbedding and RMSNormalization as single operators.
OPSET = 23

#: Longest sequence (and most kept positions) that a graph takes.
MAX_LENGTH = 4096

_NAME_SCOPES = "pkg.torch.onnx.name_scopes"


def refresh_model(
    network: Transformer,
    layout: GraphLayout,
    signal_layers: frozenset[int],
    signal: Signal = Signal.MASS,
) -> Graph:
    """The refresh pass, of any length from one block and one position up, as a float ONNX model."""
    graph = RefreshGraph(network, layout, signal_layers, signal).eval()
    block = layout.block_length
    length = torch.export.Dim("length", min=block + 1, max=MAX_LENGTH)
    tokens = torch.zeros(1, 2 * block + 3, dtype=torch.int64)
    positions = [torch.arange(tokens.shape[1])] * layout.is_windowed
    ends = example_inputs(layout.sampling, block, network.geometry.vocab_size)
    # no free dimension is {}: the exporter takes a tuple of nothing but None for something else
    rest = (*({0: length} for _ in positions), *({} for _ in ends))
    free = ({1: length}, None, rest) if rest else ({1: length}, None)
    return trace(
        graph,
        (tokens, torch.tensor(block), *positions, *ends),
        dynamic_shapes=free,
        input_names=graph.input_names(),
        output_names=graph.output_names(),
    )


def step_model(network: Transformer, layout: GraphLayout) -> Graph:
    """The step pass as a float ONNX model; each layer keeps its own number of positions.

    It runs one block's rows, or any where the layout is windowed.
    """
    block, g = layout.block_length, network.geometry
    tokens = torch.zeros(1, block, dtype=torch.int64)
    cache, kept = _cache_inputs(network, block)
    before = [torch.zeros(1, 1, g.hidden_size)] * g.logit_shift
    ends = [*before, *example_inputs(layout.sampling, block, g.vocab_size)]
    rest = (*kept, *(None for _ in ends))
    graph: WindowGraph | StepGraph
    if layout.is_windowed:
        graph = WindowGraph(network, layout).eval()
        tokens = torch.zeros(1, 2 * block + 1, dtype=torch.int64)
        rows = torch.export.Dim("rows", min=1, max=MAX_LENGTH)
        args = (tokens, torch.tensor(1), torch.arange(tokens.shape[1]), *cache, *ends)
        shapes: tuple[object, ...] = ({1: rows}, None, {0: rows}, rest)
    else:
        graph = StepGraph(network, layout.sampling).eval()
        args, shapes = (tokens, torch.tensor(block), *cache, *ends), (None, None, rest)
    return trace(
        graph,
        args,
        dynamic_shapes=shapes,
        input_names=graph.input_names(),
        output_names=graph.output_names(),
    )


def _cache_inputs(
    network: Transformer, block_length: int
) -> tuple[list[torch.Tensor], list[dict[int, torch.export.Dim]]]:
    """Keys and values of each layer, and their free dimension."""
    cache, kept = [], []
    for index, layer in enumerate(network.model.layers):
        # lengths that differ, and differ from the block's, lest the tracer take them for one
        g: Geometry = layer.self_attn.geometry  # type: ignore[union-attr,assignment]
        size = (1, g.num_kv_heads, block_length + 3 + index, g.head_dim)
        cache += [torch.zeros(size), torch.zeros(size)]
        kept += [{2: torch.export.Dim(f"kept_{index}", min=1, max=MAX_LENGTH)}] * 2
    return cache, kept


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
    if any(one.name == CREDIT for one in model.graph.input):
        value = made_by[value].input[0]  # credit is added to the logits
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
