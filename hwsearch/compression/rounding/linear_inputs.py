"""What linears see of calibration, streamed through a network a layer at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from hwsearch.denoisers.large.lockstep import as_floats
from hwsearch.denoisers.network import Network
from hwsearch.denoisers.transformer import Layer, Transformer
from hwsearch.errors import CheckpointError

#: Of so many samples one is kept to judge what the others were fitted to.
JUDGED = 4


@dataclass(frozen=True, eq=False)
class LinearInputs:
    """Inputs of linears that share them.

    Attributes:
        inputs: of each sample, ``[batch, rows, in]``, float32.
        weights: what a row's squared errors count for, ``[batch, rows]``: those that are added to a
            residual count against its mean square, since the next norm divides by that.
        sources: for each input the output of the linear, or the entry of the norm, that makes it,
            ``[in]``; None where inputs cannot be scaled there.
    """

    inputs: Sequence[Tensor]
    weights: Sequence[Tensor]
    sources: Tensor | None = None

    @cached_property
    def split(self) -> tuple[LinearInputs, LinearInputs]:
        """What is fitted to, and what is judged by: all of it where there is one sample alone."""
        places = range(len(self.inputs))
        judged = [place for place in places if place % JUDGED == JUDGED - 1]
        judged = judged or [*places][1:] or [*places]
        fitted = [place for place in places if place not in judged] or judged
        return self._some(fitted), self._some(judged)

    def _some(self, places: Sequence[int]) -> LinearInputs:
        return LinearInputs(
            [self.inputs[place] for place in places],
            [self.weights[place] for place in places],
            self.sources,
        )

    @cached_property
    def largest(self) -> Tensor:
        """Largest magnitude of each input, ``[in]``."""
        return torch.stack([x.abs().amax(dim=(0, 1)) for x in self.inputs]).amax(dim=0)


#: Linears of one group, by path, and what they see.
Group = tuple[tuple[str, ...], LinearInputs]


@torch.inference_mode()
def stream(
    network: Network, samples: Sequence[Tensor], wanted: set[str], pruned: Network | None = None
) -> Iterator[Group]:
    """Groups of linears and what each sees, in the order in which a pass runs them.

    A transformer's states are held, and the inputs of one layer; whatever else is run whole, once for
    each layer.

    Args:
        network: the uncompressed one.
        samples: tokens ``[batch, length]`` each.
        wanted: paths of linears; groups without any are left out, and nothing behind the last is run.
        pruned: the same with heads or channels of some layers removed. The linears of such a layer see what
            it makes of the uncompressed model's states before it.

    Raises:
        CheckpointError: a linear sees what is no finite number.
    """
    if isinstance(network, Transformer):
        smaller = network if pruned is None else pruned
        assert isinstance(smaller, Transformer), "only a transformer has heads and channels"
        found = _layers(network, samples, wanted, smaller)
    else:
        found = _whole(network, samples, wanted)
    for paths, seen in found:
        if wanted.isdisjoint(paths):
            continue
        for x in seen.inputs:
            if not bool(x.isfinite().all()):
                raise CheckpointError(
                    f"{paths[0]}: its inputs are NaN or infinite on calibration text, so nothing can be "
                    "rounded by them; take another checkpoint, or rounding 'nearest'"
                )
        yield paths, seen


def _layers(
    network: Transformer, samples: Sequence[Tensor], wanted: set[str], pruned: Transformer
) -> Iterator[Group]:
    states = [network.model.embed_tokens(tokens) for tokens in samples]
    groups = network.linear_groups()
    layers = zip(network.model.layers, pruned.model.layers, groups.layers, strict=True)
    for layer, smaller, named in layers:
        assert isinstance(layer, Layer) and isinstance(smaller, Layer), "it is made of these"
        before = states
        with as_floats(layer), InputWatch(layer) as watch:
            states = after = states_after(layer, before, network)
        if smaller is not layer:
            with as_floats(smaller), InputWatch(smaller) as watch:
                after = states_after(smaller, before, network)
        for group, paths in named.items():
            yield paths, watch.seen(group, after)
        left = {path for path in wanted if _depth(path) > _depth(named["down"][0])}
        if not left:
            return
    if groups.head is not None:
        normed = [network.model.norm(x).float() for x in states]
        hidden = torch.arange(network.geometry.hidden_size)
        yield (groups.head,), LinearInputs(normed, _alike(normed), hidden.to(network.device))


def states_after(layer: Layer, states: Sequence[Tensor], network: Transformer) -> list[Tensor]:
    """States behind a layer."""
    return [layer(x, network.rope(x.shape[1]))[0] for x in states]


def layer_path(path: str) -> str:
    """Path of the layer that holds a linear of a transformer."""
    return ".".join(path.split(".")[:3])


def _depth(path: str) -> float:
    """The layer that a path of a transformer leads to; the head comes last."""
    parts = path.split(".")
    return int(parts[2]) if parts[0] == "model" else float("inf")


def _alike(inputs: Sequence[Tensor]) -> list[Tensor]:
    return [torch.ones(x.shape[:2], device=x.device) for x in inputs]


class InputWatch:
    """Inputs of one layer's linears, and the residual between its two halves. A context manager."""

    def __init__(self, layer: Layer) -> None:
        self._layer = layer
        self._stack = ExitStack()
        self._inputs: dict[str, list[Tensor]] = {}

    def __enter__(self) -> InputWatch:
        layer = self._layer
        attention, mlp = layer.self_attn, layer.mlp
        watched: dict[str, nn.Module] = {
            "qkv": attention.q_proj,
            "out": attention.o_proj,
            "middle": layer.post_attention_layernorm,
            "gate_up": mlp.gate_proj,
            "down": mlp.down_proj,
        }
        for name, module in watched.items():
            held: list[Tensor] = []
            self._inputs[name] = held
            self._stack.callback(module.register_forward_pre_hook(_keep(held)).remove)
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def seen(self, group: str, states: Sequence[Tensor]) -> LinearInputs:
        """What a group sees; `states` come out of the layer."""
        inputs = self._inputs[group]
        weights = _alike(inputs)
        if group in ("out", "down"):
            residual = self._inputs["middle"] if group == "out" else states
            weights = [1 / x.float().square().mean(dim=-1).clamp_min(1e-12) for x in residual]
        return LinearInputs(inputs, weights, self._sources(group, inputs[0].shape[-1]))

    def _sources(self, group: str, count: int) -> Tensor:
        place = torch.arange(count)
        g = self._layer.self_attn.geometry
        if group == "out":
            # query heads that share a value head see one output of v_proj in several places
            head, feature = place // g.head_dim, place % g.head_dim
            place = head // (g.num_heads // g.num_kv_heads) * g.head_dim + feature
        return place.to(next(self._layer.parameters()).device)


def _keep(held: list[Tensor]) -> Any:
    def hook(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        held.append(inputs[0].float())

    return hook


def _whole(network: Network, samples: Sequence[Tensor], wanted: set[str]) -> Iterator[Group]:
    """Linears of a module of one's own, each by itself: who makes their inputs is not known."""
    groups = network.linear_groups()
    layers = [[path for paths in layer.values() for path in paths] for layer in groups.layers]
    for paths in (*layers, [] if groups.head is None else [groups.head]):
        inputs: dict[str, list[Tensor]] = {path: [] for path in paths if path in wanted}
        with ExitStack() as stack:
            for path, held in inputs.items():
                module = network.get_submodule(path)
                stack.callback(module.register_forward_pre_hook(_keep(held)).remove)
            for tokens in samples if inputs else ():
                network(tokens)
        for path, held in inputs.items():
            rows = [x if x.dim() == 3 else x.reshape(1, -1, x.shape[-1]) for x in held]
            yield (path,), LinearInputs(rows, _alike(rows))


def calibration_samples(passes: Sequence[Sequence[Tensor]], most_rows: int) -> list[Tensor]:
    """Calibration states as samples: each sequence at one noise level after the other, up to so many rows.

    Args:
        passes: for each group of sequences of one length its tokens at each noise level.
        most_rows: positions of all samples together; one sample is taken anyway.
    """
    found: list[Tensor] = []
    rows, rounds = 0, max((len(levels) for levels in passes), default=0)
    for turn in range(rounds):
        number = 0
        for levels in passes:
            for place in range(len(levels[0])):
                number += 1
                # neighbours at levels far apart, and all levels equally often
                stride = 3 if len(levels) % 3 else 1
                level = (number * stride + turn) % len(levels)
                if turn >= len(levels) or (found and rows + levels[0].shape[1] > most_rows):
                    continue
                found.append(levels[level][place : place + 1])
                rows += levels[0].shape[1]
    return found
