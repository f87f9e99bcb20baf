"""What linears of a network read in a pass, and how the loss depends on what they put out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle


@dataclass(eq=False)
class LinearCall:
    """One call of a linear.

    Attributes:
        inputs: what it read, ``[batch, rows, in]``.
        output: what it put out, until nothing more flows back; then None.
        gradients: how each of some quantities depends on its output, ``[batch, rows, out]`` each.
    """

    inputs: Tensor
    output: Tensor | None = None
    gradients: list[Tensor] = field(default_factory=list)


#: Calls of linears, by path.
Calls = Mapping[str, Sequence[LinearCall]]


class LinearCapture:
    """Watches linears of a network while it runs, and what flows back to them afterwards.

    The first of them on the way through the network begins the graph: gradients go no further down
    than to it, and the layers before cost no memory. Weights are left alone.

    Args:
        network: the network; `close` takes the hooks off.
        paths: its linears to be watched.
    """

    def __init__(self, network: nn.Module, paths: Iterable[str]) -> None:
        self._calls: dict[str, list[LinearCall]] = {path: [] for path in paths}
        self._hooks: dict[str, RemovableHandle] = {
            path: network.get_submodule(path).register_forward_hook(self._hook(path))
            for path in self._calls
        }

    def flow_back(self, quantity: Tensor, more: bool) -> None:
        """Add to all calls since `take` how a quantity, a scalar, depends on them.

        Args:
            quantity: what was computed of the network's outputs.
            more: whether others will follow, for which the graph is needed.
        """
        calls = [call for seen in self._calls.values() for call in seen]
        outputs = [call.output for call in calls if call.output is not None]
        found = torch.autograd.grad(quantity, outputs, retain_graph=more, allow_unused=True)
        for call, gradient in zip(calls, found, strict=True):
            if gradient is not None:  # else nothing that is judged depends on it
                call.gradients.append(gradient)

    def take(self) -> Calls:
        """What was seen since this was asked before; nothing more flows back to it."""
        found = self._calls
        self._calls = {path: [] for path in found}
        for seen in found.values():
            for call in seen:
                call.output = None
        return found

    def drop(self, paths: Iterable[str]) -> None:
        """Watch these no more."""
        for path in paths:
            self._hooks.pop(path).remove()
            del self._calls[path]

    def close(self) -> None:
        """Watch nothing more."""
        self.drop(list(self._hooks))

    def _hook(self, path: str) -> Any:
        def watch(_linear: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
            if not output.requires_grad:
                output = output.detach().requires_grad_()
            self._calls[path].append(LinearCall(inputs[0].detach(), output))
            return output

        return watch


def held_bytes(calls: Calls, paths: Iterable[str]) -> int:
    """Memory that the calls of some linears hold; what several of them read counts once."""
    held = {
        tensor.untyped_storage().data_ptr(): tensor.nbytes
        for path in paths
        for call in calls[path]
        for tensor in (call.inputs, *call.gradients)
    }
    return sum(held.values())
