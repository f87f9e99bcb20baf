"""Trace a module to ONNX, in float, with every product under a name of its own."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import onnx
import torch
from torch import nn

from hwsearch.bundle.graphs.operator_registry import one_registry
from hwsearch.bundle.graphs.pieces import Projection
from hwsearch.bundle.weights import Graph, detach
from hwsearch.runtime.probe import LOGITS
from hwsearch.runtime.state import CREDIT

#: Opset with Attention, RotaryEmbedding and RMSNormalization as single operators.
OPSET = 23

_NAME_SCOPES = "pkg.torch.onnx.name_scopes"


def trace(graph: nn.Module, args: tuple[torch.Tensor, ...], **names: object) -> Graph:
    """A module as a float ONNX model; every `Projection` in it becomes a MatMul called by its path."""
    with _quiet(), one_registry():
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
    if "token" not in made_by:
        return
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
    """Drop inner shapes, and correct those of the mass: the exporter takes Attention's for empty."""
    del model.graph.value_info[:]
    for output in model.graph.output:
        if output.name == "mass":
            output.type.tensor_type.shape.dim[1].dim_param = "length"


def _forget_origins(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes of each node, stack traces among it: most of a graph's bytes."""
    for part in (*model.graph.node, *model.graph.input, *model.graph.output, model.graph, model):
        del part.metadata_props[:]


def _name_products(model: onnx.ModelProto, paths: set[str]) -> None:
    """Call each MatMul of a `Projection` by its path (``qkv``), and check that all are there."""
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
