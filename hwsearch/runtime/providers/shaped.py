"""A graph that is opened anew for each set of sizes, for providers that want them fixed.

Such a provider compiles a graph when it is opened. onnxruntime fixes sizes that a graph leaves free when
it is told them by name, so one file serves all. Opening takes long; what was opened is kept, up to `MOST`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import onnxruntime as ort
from numpy.typing import NDArray

#: Sessions that are kept open, the latest used ones.
MOST: Final = 16

#: Opens a graph with free sizes fixed, by name.
OpenAt = Callable[[Mapping[str, int]], ort.InferenceSession]


class ShapedSession:
    """Looks like a session of onnxruntime, and holds one for each set of sizes.

    Args:
        described: any session of the graph, to say what it takes and hands out.
        open_at: opens the graph for some sizes.
    """

    def __init__(self, described: ort.InferenceSession, open_at: OpenAt) -> None:
        self._inputs, self._outputs = described.get_inputs(), described.get_outputs()
        self._free = {value.name: value.shape for value in self._inputs}
        self._open_at = open_at
        self._opened: OrderedDict[tuple[tuple[str, int], ...], ort.InferenceSession] = OrderedDict()

    def get_inputs(self) -> Sequence[Any]:
        """What the graph takes."""
        return self._inputs

    def get_outputs(self) -> Sequence[Any]:
        """What it hands out."""
        return self._outputs

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Outputs by name, as a session's `run`."""
        return self.at(feeds).run(names, feeds)

    def at(self, feeds: Mapping[str, NDArray[Any]]) -> ort.InferenceSession:
        """The session for inputs of these sizes."""
        sizes = {
            dim: size
            for name, array in feeds.items()
            for dim, size in zip(self._free[name], array.shape, strict=True)
            if isinstance(dim, str)
        }
        key = tuple(sorted(sizes.items()))
        if key not in self._opened:
            self._opened[key] = self._open_at(sizes)
            if len(self._opened) > MOST:
                self._opened.popitem(last=False)
        self._opened.move_to_end(key)
        return self._opened[key]


#: What runs a graph.
Session: TypeAlias = ort.InferenceSession | ShapedSession


def session_for(session: Session, feeds: Mapping[str, NDArray[Any]]) -> ort.InferenceSession:
    """A session of onnxruntime for inputs of some sizes."""
    return session.at(feeds) if isinstance(session, ShapedSession) else session
