"""A graph that is opened anew for each set of sizes, for providers that want some of them fixed.

Such a provider compiles a graph when it is opened. onnxruntime fixes sizes that a graph leaves free when
it is told them by name, so one file serves all. Opening takes long; what was opened is kept, up to `MOST`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import onnxruntime as ort
from numpy.typing import NDArray

#: Sessions that are kept open, the latest used ones.
MOST: Final = 16

#: Opens a graph with free sizes fixed, by name.
OpenAt = Callable[[Mapping[str, int]], ort.InferenceSession]


@dataclass(frozen=True)
class Value:
    """What a graph takes or hands out; onnxruntime's own would keep its session, and the weights in it.

    Attributes:
        name: its name.
        type: as onnxruntime spells it.
        shape: its sizes, those that are free by name.
    """

    name: str
    type: str
    shape: Sequence[Any]

    @classmethod
    def of(cls, value: Any) -> Value:
        """That of a session."""
        return cls(value.name, value.type, value.shape)


class ShapedSession:
    """Looks like a session of onnxruntime, and holds one for each set of sizes.

    Args:
        described: any session of the graph, to say what it takes and hands out.
        open_at: opens the graph for some sizes.
        fixed: names of the sizes that are fixed; the others stay free.
    """

    def __init__(
        self, described: ort.InferenceSession, open_at: OpenAt, fixed: Collection[str]
    ) -> None:
        self._fixed = frozenset(fixed)
        self._inputs = [Value.of(value) for value in described.get_inputs()]
        self._outputs = [Value.of(value) for value in described.get_outputs()]
        self._free = {value.name: value.shape for value in self._inputs}
        self._open_at = open_at
        self._opened: OrderedDict[tuple[tuple[str, int], ...], ort.InferenceSession] = OrderedDict()

    def get_inputs(self) -> Sequence[Value]:
        """What the graph takes."""
        return self._inputs

    def get_outputs(self) -> Sequence[Value]:
        """What it hands out."""
        return self._outputs

    def run(self, names: Sequence[str] | None, feeds: Mapping[str, NDArray[Any]]) -> list[Any]:
        """Outputs by name, as a session's `run`."""
        outputs: list[Any] = self.at(feeds).run(names, feeds)
        return outputs

    def at(self, feeds: Mapping[str, NDArray[Any]]) -> ort.InferenceSession:
        """The session for inputs of these sizes."""
        sizes = {
            dim: size
            for name, array in feeds.items()
            for dim, size in zip(self._free[name], array.shape, strict=True)
            if dim in self._fixed
        }
        key = tuple(sorted(sizes.items()))
        if key not in self._opened:
            self._opened[key] = self._open_at(sizes)
            if len(self._opened) > MOST:
                self._opened.popitem(last=False)
        self._opened.move_to_end(key)
        return self._opened[key]


def free_sizes(described: ort.InferenceSession) -> frozenset[str]:
    """Names of the sizes that a graph's inputs leave free."""
    shapes = [value.shape for value in described.get_inputs()]
    return frozenset(dim for shape in shapes for dim in shape if isinstance(dim, str))


#: What runs a graph.
Session: TypeAlias = ort.InferenceSession | ShapedSession


def session_for(session: Session, feeds: Mapping[str, NDArray[Any]]) -> ort.InferenceSession:
    """A session of onnxruntime for inputs of some sizes."""
    return session.at(feeds) if isinstance(session, ShapedSession) else session
