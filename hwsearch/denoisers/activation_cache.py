"""Remembered layer outputs: a pass starts again only at the first layer that was changed.

Plans of a search differ in a few layers. On a frozen input, the output of a layer depends on the
modules of that layer and of those before it, and on nothing else; so an output is kept under the path
of modules that led to it, and another plan with the same beginning finds it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from torch import Tensor, nn

#: What one layer of one pass leaves behind; see `hwsearch.denoisers.transformer.Layer.forward`.
LayerOutput = tuple[Tensor, Any, Tensor | None]


class ActivationCache:
    """Outputs of layers on frozen inputs, the least recently used ones dropped beyond a size.

    Args:
        limit_bytes: most bytes of tensors to keep; 0 keeps nothing.

    Attributes:
        hits: layers that were found.
        misses: layers that had to run.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.size_bytes = 0
        self.hits = self.misses = 0
        self._outputs: OrderedDict[Hashable, tuple[LayerOutput, int]] = OrderedDict()

    def walk(self, start: Hashable) -> Walk:
        """A way through the layers of one pass over one input, which `start` names."""
        return Walk(self, start)

    def fetch(self, key: Hashable, compute: Callable[[], LayerOutput]) -> LayerOutput:
        """The output under a key, computed unless it is known."""
        if key in self._outputs:
            self.hits += 1
            self._outputs.move_to_end(key)
            return self._outputs[key][0]
        self.misses += 1
        output = compute()
        self._keep(key, output)
        return output

    def _keep(self, key: Hashable, output: LayerOutput) -> None:
        size = sum(tensor.nbytes for tensor in _tensors(output))
        self._outputs[key] = output, size
        self.size_bytes += size
        while self.size_bytes > self.limit_bytes:
            _, (_, freed) = self._outputs.popitem(last=False)
            self.size_bytes -= freed


class Walk:
    """One pass, layer by layer; the path so far is the key of what comes next."""

    def __init__(self, activations: ActivationCache, start: Hashable) -> None:
        self._activations = activations
        self._path: Hashable = start

    def __call__(
        self, layer: nn.Module, mode: Hashable, compute: Callable[[], LayerOutput]
    ) -> LayerOutput:
        """The output of the next layer.

        Args:
            layer: it is known by the modules it is made of, not by its own identity.
            mode: what else its output depends on.
            compute: runs it.
        """
        self._path = (self._path, leaves(layer), mode)
        return self._activations.fetch(self._path, compute)


def leaves(module: nn.Module) -> tuple[nn.Module, ...]:
    """The innermost modules of a module, which hold all its weights."""
    return tuple(part for part in module.modules() if not part._modules)


def _tensors(output: LayerOutput) -> Iterable[Tensor]:
    hidden, cache, mass = output
    return (tensor for tensor in (hidden, *cache, mass) if tensor is not None)
