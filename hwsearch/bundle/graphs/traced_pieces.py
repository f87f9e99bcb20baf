"""Each piece as an ONNX graph, traced once for every shape and use; see `hwsearch.bundle.graphs.pieces`.

Pieces of earlier processes are found on disk (`hwsearch.bundle.graphs.remembered_pieces`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

import torch
from torch import nn

from hwsearch.bundle.graphs.pieces import (
    End,
    EndUse,
    GraphLayout,
    LayerPiece,
    LayerUse,
    Rows,
    Start,
)
from hwsearch.bundle.graphs.predictions import example_inputs, output_names
from hwsearch.bundle.graphs.remembered_pieces import remembered_piece
from hwsearch.bundle.graphs.tracing import trace
from hwsearch.bundle.weights import Graph
from hwsearch.denoisers.geometry import Geometry

#: Longest sequence (and most kept positions) that a graph takes.
MAX_LENGTH = 4096

#: Parameters of at most so many values are given different ones, lest the tracer take two for one.
_SMALL = 1 << 16

#: Sizes that a piece knows nothing of, the same for all, so that models of one width share it.
_WIDTHS = Geometry(
    vocab_size=1,
    hidden_size=1,
    num_layers=1,
    num_heads=1,
    num_kv_heads=1,
    head_dim=1,
    intermediate_size=1,
)

#: The block of layers that run as many rows as there are, whatever the block.
_ANY_BLOCK = 4

Shapes = tuple[object, ...]


def start_piece(geometry: Geometry, rows: int | None, is_placed: bool) -> Graph:
    """Tokens to states and rotary angles; see `hwsearch.bundle.graphs.pieces.Start`."""
    sizes = replace(_WIDTHS, vocab_size=geometry.vocab_size, hidden_size=geometry.hidden_size)
    sizes = replace(sizes, head_dim=geometry.head_dim, rope_theta=geometry.rope_theta)
    return _start(sizes, rows, is_placed)


def layer_piece(geometry: Geometry, use: LayerUse, layout: GraphLayout) -> Graph:
    """One layer of these sizes; what tokens are chosen by makes no difference to it."""
    sizes = replace(geometry, num_layers=1, vocab_size=1, tie_embeddings=False, logit_shift=False)
    sizes = replace(sizes, rope_theta=_WIDTHS.rope_theta)  # angles come from outside
    is_windowed = use.has_past and layout.is_windowed
    is_told = not {"block", "sources"}.isdisjoint(use.inputs)
    is_fixed = use.has_past and not is_windowed
    block = layout.block_length if is_told or is_fixed else _ANY_BLOCK
    return _layer(sizes, use, block, is_windowed)


def end_piece(geometry: Geometry, layout: GraphLayout, use: EndUse) -> Graph:
    """States to predictions."""
    sizes = replace(_WIDTHS, vocab_size=geometry.vocab_size, hidden_size=geometry.hidden_size)
    sizes = replace(sizes, rms_norm_eps=geometry.rms_norm_eps)
    return _end(sizes, GraphLayout(layout.block_length, layout.sampling), use)


@lru_cache(maxsize=128)
def rows_piece(block_length: int, logit_shift: bool) -> Graph:
    """The block's rows, and those that predict it."""
    return _traced(
        (block_length, logit_shift),
        Rows(block_length, logit_shift),
        (torch.tensor(block_length),),
        (None,),
        ["start"],
        ["rows", "sources"],
    )


@lru_cache(maxsize=128)
def _start(geometry: Geometry, rows: int | None, is_placed: bool) -> Graph:
    length = _dim("rows" if is_placed and rows is None else "length")
    tokens = torch.zeros(1, rows or 11, dtype=torch.int64)
    shapes: Shapes = ({1: length},) if rows is None else ({},)
    place: tuple[torch.Tensor, ...] = ()
    if is_placed:
        place, shapes = (torch.arange(tokens.shape[1]),), (*shapes, {0: length})
    elif rows is not None:
        place, shapes = (torch.tensor(rows),), (*shapes, None)
    names = ["positions" if is_placed else "start"] * len(place)
    # the exporter takes free arguments as one tuple
    free = (shapes[0], shapes[1:]) if place else shapes
    module = Start(geometry, rows, is_placed)
    parts, outputs = (geometry, rows, is_placed), ["x", "cos", "sin"]
    return _traced(parts, module, (tokens, *place), free, ["tokens", *names], outputs)


@lru_cache(maxsize=128)
def _layer(geometry: Geometry, use: LayerUse, block: int, is_windowed: bool) -> Graph:
    g, is_fixed = geometry, use.has_past and not is_windowed
    count = block if is_fixed else 2 * block + 3
    dim = _dim("rows" if use.has_past else "length")
    row: dict[int, object] = {} if is_fixed else {1: dim}
    args = [torch.zeros(1, count, g.hidden_size)]
    args += [torch.zeros(1, count, g.head_dim // 2) for _ in range(2)]
    rest: list[object] = []
    if use.has_past:
        kept = torch.export.Dim("kept", min=1, max=MAX_LENGTH)
        # a length that differs from all others, lest the tracer take two for one
        size = (1, g.num_kv_heads, 3 * block + 5, g.head_dim)
        args += [torch.zeros(size), torch.zeros(size)]
        rest += [{2: kept}, {2: kept}]
    for _ in use.inputs[len(args) :]:  # the block's rows, and those that predict it
        args.append(torch.arange(block))
        rest.append({})
    shapes: Shapes = (row, row, row, tuple(rest)) if rest else (row, row, row)
    parts = (geometry, use, block, is_windowed)
    return _traced(parts, LayerPiece(g, use), tuple(args), shapes, use.inputs, use.outputs)


@lru_cache(maxsize=128)
def _end(geometry: Geometry, layout: GraphLayout, use: EndUse) -> Graph:
    block, hidden = layout.block_length, geometry.hidden_size
    names = use.inputs(layout.sampling)
    ends = example_inputs(layout.sampling, block, geometry.vocab_size)
    known = {
        "rows": torch.arange(block),
        "start": torch.tensor(1),
        "before": torch.zeros(1, 1, hidden),
    } | dict(zip(names[len(names) - len(ends) :], ends, strict=True))
    args = [torch.zeros(1, 2 * block + 3 if use.selects else block, hidden)]
    args += [known[name] for name in names[1:]]
    first: dict[int, object] = {1: _dim("length")} if use.selects else {}
    rest: Shapes = tuple(None if name == "start" else {} for name in names[1:])
    shapes: Shapes = (first, rest) if rest else (first,)
    before = ["before_next"] * (use.shift in ("cut", "window"))
    outputs = [*output_names(layout.sampling), *before]
    module = End(geometry, layout.sampling, use)
    return _traced((geometry, layout, use), module, tuple(args), shapes, names, outputs)


def _traced(
    parts: Sequence[object],
    module: nn.Module,
    args: tuple[torch.Tensor, ...],
    shapes: Shapes,
    inputs: list[str],
    outputs: list[str],
) -> Graph:
    """A piece; `parts` are all that it depends on beside its class."""

    def make() -> Graph:
        for parameter in module.parameters():
            if parameter.numel() <= _SMALL:
                parameter.data.normal_()
        names = {"input_names": inputs, "output_names": outputs}
        graph = trace(module.eval().requires_grad_(False), args, dynamic_shapes=shapes, **names)
        return graph.holding(graph.weights.keys() - dict(module.named_parameters()).keys())

    return remembered_piece([type(module).__name__, *parts], make)


def _dim(name: str) -> object:
    return torch.export.Dim(name, min=1 if name == "rows" else 2, max=MAX_LENGTH)
