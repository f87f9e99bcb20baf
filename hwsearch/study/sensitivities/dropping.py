"""What dropping cached positions is estimated to cost, layer by layer.

A layer that drops positions errs at the output of its attention, like one whose weights are rounded, so
the same second-order term tells what it costs. One pass over the states shows the errors of all
layers at once: all of them drop, and each hands on what it would have put out had none been dropped,
so that no layer sees the error of another.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.network import Network
from hwsearch.progress import each
from hwsearch.study.sensitivities.capture import Calls, LinearCall
from hwsearch.study.sensitivities.movement import Movement, expected_loss
from hwsearch.tasks.losses.loss import DivergenceLoss

#: The linear group that ends a layer's attention.
OUT = "out"


def attention_outputs(network: Network) -> dict[int, str]:
    """The path of the linear that ends each layer's attention, by layer."""
    layers = enumerate(network.linear_groups().layers)
    return {index: path for index, groups in layers for path in groups.get(OUT, ())}


@torch.no_grad()
def dropping_losses(
    network: Network,
    loss: DivergenceLoss,
    kept: KeptShares,
    paths: Mapping[int, str],
    states: Sequence[Calls],
) -> dict[int, float]:
    """The loss that each of some layers is estimated to add if it alone drops positions, in nats.

    Args:
        network: the uncompressed model's; it gets hooks meanwhile, and is left as it was.
        loss: its states.
        kept: what layers keep.
        paths: the linear that ends the attention of each of these layers.
        states: what these linears read in each state where nothing was dropped, and what flowed back.
    """
    shares = tuple(share if i in paths else 1.0 for i, share in enumerate(kept.shares))
    moved: dict[int, list[Movement]] = {layer: [] for layer in paths}
    with _watching(network, paths) as watch:
        judged = loss.judged(network, replace(kept, shares=shares))
        found = iter(each(judged, "estimating sensitivities", loss.judges.states))
        for calls in states:
            watch.begin(calls)
            next(found)
            for layer, movement in watch.moved.items():
                moved[layer].append(movement)
    return {layer: expected_loss(movements) for layer, movements in moved.items()}


class _Watch:
    """Holds what linears put out against what they put out where nothing is dropped, and hands on that."""

    def __init__(self, paths: Mapping[int, str]) -> None:
        self._paths = paths
        self._calls: dict[str, Iterator[LinearCall]] = {}
        self.moved: dict[int, Movement] = {}

    def begin(self, calls: Calls) -> None:
        """Expect the passes of one state."""
        self._calls = {path: iter(calls[path]) for path in self._paths.values()}
        self.moved = {layer: Movement() for layer in self._paths}

    def hook(self, layer: int) -> Any:
        """That of a layer's linear."""

        def compare(linear: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            call = next(self._calls[self._paths[layer]])
            exact: Tensor = linear.forward(call.inputs)
            self.moved[layer].add(call, output.float() - exact.float())
            return exact

        return compare


@contextmanager
def _watching(network: Network, paths: Mapping[int, str]) -> Iterator[_Watch]:
    watch = _Watch(paths)
    hooks = [
        network.get_submodule(path).register_forward_hook(watch.hook(layer))
        for layer, path in paths.items()
    ]
    try:
        yield watch
    finally:
        for hook in hooks:
            hook.remove()
