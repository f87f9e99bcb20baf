"""Which cached positions the layers of a bundle keep, chosen for many layers at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.plan import CacheRule


class LayerKeepers:
    """The layers that drop positions of one sequence, over one generation.

    A `PositionKeeper` is of one layer and a batch of sequences. Here there is one sequence, and layers
    that keep the same share take the places of a batch: numpy's calls cost more than their work.

    Args:
        kept: the shares and the rule.
    """

    def __init__(self, kept: KeptShares) -> None:
        self._keepers = {layers: PositionKeeper(kept, layers[0]) for layers in layers_alike(kept)}

    def see(self, length: int, signals: Mapping[int, NDArray[np.float32]], tail: int = 1) -> None:
        """Count one refresh; `signals` are ``[1, length]`` by layer, where the rule looks at any."""
        for layers, keeper in self._keepers.items():
            told = [signals[layer] for layer in layers if layer in signals]
            keeper.see((len(layers), length), np.concatenate(told) if told else None, tail)

    def advance(self, length: int, tail: int = 1) -> None:
        """Count a block that began without a refresh; see `PositionKeeper.advance`."""
        for keeper in self._keepers.values():
            keeper.advance(length, tail)

    def choose(self, length: int, start: int, stop: int) -> dict[int, NDArray[np.int64]]:
        """Positions ``[kept]`` outside start..stop that each of the layers keeps, ascending."""
        chosen: dict[int, NDArray[np.int64]] = {}
        for layers, keeper in self._keepers.items():
            rows = keeper.choose((len(layers), length), start, stop)
            chosen |= zip(layers, rows, strict=True)
        return chosen


def layers_alike(kept: KeptShares) -> list[tuple[int, ...]]:
    """Layers that drop positions, together where their choices differ by what they see alone.

    >>> layers_alike(KeptShares((1.0, 0.5, 0.7, 0.5)))
    [(1, 3), (2,)]
    """
    policy = kept.policy
    by_layer = not policy.running or policy.rule is CacheRule.RANDOM
    groups: defaultdict[Hashable, list[int]] = defaultdict(list)
    for layer in sorted(kept.pruned):
        groups[layer if by_layer else kept.shares[layer]].append(layer)
    return [tuple(layers) for layers in groups.values()]
