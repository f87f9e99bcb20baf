"""State that graphs carry from pass to pass over a block, for commit policies that look back."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

#: Log-probabilities of the pass before, and credit of tokens predicted before (`Credit`).
LOGP: Final = "logp"
CREDIT: Final = "credit"

#: What an input's name begins with as an output: the value for the next pass.
NEXT: Final = "next_"


class PassState:
    """The state inputs of a bundle's graphs.

    Args:
        shapes: of the inputs, by name; empty for graphs without state.
    """

    def __init__(self, shapes: dict[str, tuple[int, ...]]) -> None:
        self._shapes = shapes
        self._values: dict[str, NDArray[Any]] = {}
        self._start: int | None = None

    def begin(self) -> None:
        """A generation begins."""
        self._start, self._values = None, {}

    def feeds(self, start: int) -> dict[str, NDArray[Any]]:
        """Inputs for a pass over the block at `start`; zeros where it is the first."""
        if start != self._start:
            self._start, self._values = start, {}
        return {
            name: self._values.get(name, np.zeros(shape, dtype=np.float32))
            for name, shape in self._shapes.items()
        }

    def keep(self, outputs: dict[str, NDArray[Any]]) -> NDArray[np.float32] | None:
        """Take what a pass hands on; its divergence, infinite if no pass was before it."""
        moved = outputs.get("divergence")
        if moved is not None and LOGP not in self._values:
            moved = np.full_like(moved, np.inf)
        self._values = {name: outputs[NEXT + name] for name in self._shapes}
        return moved
