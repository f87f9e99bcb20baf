"""The two float graphs of a denoiser, put together from pieces; every plan's graphs are made from them.

Tracing a piece takes seconds and depends on sizes alone: layers of the same sizes are traced once. What a
plan changes is changed in the graph: the formats of the products, and what layers hand out.
"""

from __future__ import annotations

from functools import cached_property

from hwsearch.bundle.graphs.assembly import Placed, assembled
from hwsearch.bundle.graphs.pieces import EndUse, GraphLayout, LayerUse
from hwsearch.bundle.graphs.predictions import input_names, output_names
from hwsearch.bundle.graphs.sources import weights_of
from hwsearch.bundle.graphs.traced_pieces import end_piece, layer_piece, rows_piece, start_piece
from hwsearch.bundle.products import ProductBank, product_formats
from hwsearch.bundle.rounded import NONE_ROUNDED, RoundedProducts
from hwsearch.bundle.tied import share_head
from hwsearch.bundle.weights import Graph, Weight
from hwsearch.decoding.kept import Signal
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.transformer import Layer, Transformer
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.state import NEXT

#: What the block's rows, and those that predict it, are called in all graphs.
_ROWS = {"start": "start", "rows": "block", "sources": "sources"}


class TracedGraphs:
    """Float graphs of one network in one layout.

    Args:
        network: the uncompressed transformer.
        layout: what else the graphs depend on.
    """

    def __init__(self, network: Transformer, layout: GraphLayout) -> None:
        self._geometry = network.geometry
        self._layers = [_sizes(layer) for layer in network.model.layers]
        self._network = network
        self._layout = layout
        self._bank = ProductBank()

    def refresh(self, signal_layers: frozenset[int], signal: Signal = Signal.MASS) -> Graph:
        """The pass over all positions, of any length from one block and one position up.

        It hands out keys, values, and what some layers choose positions by, as ``mass_<layer>``: the
        attention mass, or the keys' product with the block's mean query. A windowed graph is told where
        its tokens stand, since some of the sequence may be left out.
        """
        layout, g = self._layout, self._geometry
        windowed = layout.is_windowed
        rows = rows_piece(layout.block_length, g.logit_shift)
        pieces = [
            self._start(None, windowed),
            Placed(rows, "rows", wires=_ROWS),
        ]
        for index in range(len(self._layers)):
            is_cut = windowed and index == len(self._layers) - 1
            told = signal if index in signal_layers else Signal.NONE
            use = LayerUse(signal=told, cuts=is_cut)
            names = {"key": f"key_{index}", "value": f"value_{index}", "mass": f"mass_{index}"}
            pieces.append(self._layer(index, use, names))
        end = EndUse(selects=not windowed, shift="cut" if g.logit_shift else None)
        pieces.append(self._end(end, {"rows": "sources", "before_next": "before"}))
        positions = ["positions"] if windowed else []
        masses = [f"mass_{i}" for i in sorted(signal_layers)] if signal else []
        return self._assembled(
            pieces,
            ["tokens", "start", *positions, *input_names(layout.sampling)],
            [*output_names(layout.sampling), *self._cache_names, *self._before_names, *masses],
        )

    def step(self) -> Graph:
        """The pass over one block's rows, or over any where the layout is windowed.

        Each layer takes the keys and values that it keeps, ``[1, kv_heads, kept, head_dim]``, of a number
        of its own. Windowed, it hands out those of the rows.
        """
        layout, g = self._layout, self._geometry
        windowed = layout.is_windowed
        pieces = [self._start(None if windowed else layout.block_length, windowed)]
        if windowed:
            rows = rows_piece(layout.block_length, g.logit_shift)
            pieces.append(Placed(rows, "rows", wires=_ROWS))
        for index in range(len(self._layers)):
            is_cut = windowed and index == len(self._layers) - 1
            use = LayerUse(has_past=True, hands_out=windowed, cuts=is_cut)
            names = {"past_key": f"key_{index}", "past_value": f"value_{index}"}
            names |= {"key": f"{NEXT}key_{index}", "value": f"{NEXT}value_{index}"}
            pieces.append(self._layer(index, use, names))
        shift = ("window" if windowed else "past") if g.logit_shift else None
        names = {"start": "start", "before": "before", "before_next": f"{NEXT}before"}
        pieces.append(self._end(EndUse(selects=False, shift=shift), names))
        ends = [*self._before_names, *input_names(layout.sampling)]
        fresh = [NEXT + name for name in (*self._cache_names, *self._before_names)]
        return self._assembled(
            pieces,
            ["tokens", "start", *["positions"] * windowed, *self._cache_names, *ends],
            [*output_names(layout.sampling), *(fresh if windowed else [])],
        )

    def quantised(
        self,
        graph: Graph,
        plan: CompressionPlan,
        rounded: RoundedProducts = NONE_ROUNDED,
    ) -> Graph:
        """A graph of this network with each product in its planned format.

        Raises:
            PlanError: a format that onnxruntime does not run.
        """
        quantised = self._bank.quantise(graph, product_formats(plan), rounded)
        tied = self._geometry.tie_embeddings
        return share_head(quantised, "head", "embed.weight") if tied else quantised

    @cached_property
    def _weights(self) -> dict[str, Weight]:
        return weights_of(self._network)

    @property
    def _cache_names(self) -> list[str]:
        """Keys and values of every layer, in order."""
        return [f"{kind}_{i}" for i in range(len(self._layers)) for kind in ("key", "value")]

    @property
    def _before_names(self) -> list[str]:
        """The state ``[1, 1, hidden]`` before the block, where it predicts the block's first token."""
        return ["before"] if self._geometry.logit_shift else []

    def _start(self, rows: int | None, is_placed: bool) -> Placed:
        wires = {name: name for name in ("tokens", "start", "positions")}
        piece = start_piece(self._geometry, rows, is_placed)
        return Placed(piece, "start", wires=wires | {"x": "states", "cos": "cos", "sin": "sin"})

    def _layer(self, index: int, use: LayerUse, names: dict[str, str]) -> Placed:
        states = "states" if index == 0 else f"states_{index - 1}"
        shared = {name: name for name in ("cos", "sin", "block", "sources")}
        wires = {"x": states, "y": f"states_{index}", **shared, **names}
        name = f"layers.{index}"
        piece = layer_piece(self._layers[index], use, self._layout)
        return Placed(piece, name, f"{name}.", wires, {"kept": f"kept_{index}"})

    def _end(self, use: EndUse, names: dict[str, str]) -> Placed:
        piece = end_piece(self._geometry, self._layout, use)
        sampling = self._layout.sampling
        told = {name: name for name in (*input_names(sampling), *output_names(sampling))}
        states = f"states_{len(self._layers) - 1}"
        return Placed(piece, "end", wires={"x": states, **told, **names})

    def _assembled(self, pieces: list[Placed], inputs: list[str], outputs: list[str]) -> Graph:
        return assembled(pieces, inputs, outputs, self._weights)


def _sizes(layer: object) -> Geometry:
    """Sizes of a layer; one of which heads or channels were pruned has its own."""
    assert isinstance(layer, Layer), "a transformer is made of these"
    return layer.self_attn.geometry.keeping(kept_channels=layer.mlp.down_proj.in_features)
