"""Look into a bundle's graphs: their logits, and whether any session answers as the product's does.

No session hands out logits otherwise. Protobuf joins what is written twice: a model's bytes with one
more `GraphProto` appended that holds nothing but an output are the same graph with that output. So
neither the file has to be changed nor the package onnx is needed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from hwsearch.decoding.backend import Tokens
from hwsearch.decoding.passes import WHOLE, Scope
from hwsearch.errors import VerificationError
from hwsearch.files import read_bytes
from hwsearch.runtime.backend import OnnxBackend
from hwsearch.runtime.bundle import Bundle
from hwsearch.runtime.graphs import HeldInputs, OpenGraph
from hwsearch.runtime.guards.graph_file import GRAPH_FILE
from hwsearch.runtime.providers import CPU, Provider, Session, provider_of

#: Name of the value in both graphs that tokens are chosen from, ``[1, block, vocab]``.
LOGITS = "logits"

#: Passes of each graph that are remembered, to run them again in a plain session.
KEPT = 4

#: Where a graph that is given as bytes has its weights.
_WEIGHTS_FOLDER = "session.model_external_initializers_file_folder_path"

#: Field numbers of onnx.proto: ModelProto.graph, GraphProto.output, ValueInfoProto.name and .type,
#: TypeProto.tensor_type, TypeProto.Tensor.elem_type; and the type float.
_GRAPH, _OUTPUT, _NAME, _TYPE, _TENSOR, _ELEMENT, _FLOAT = 7, 12, 1, 2, 1, 1, 1


@dataclass(frozen=True, eq=False)
class Seen:
    """What one graph was given, and what it answered."""

    feeds: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


class ProbeBackend(OnnxBackend):
    """The product's backend with its logits in the open, remembering some of what it saw.

    Args:
        bundle: the bundle to look at.
        threads: threads of one operator.
        logits: whether its graphs name their logits; those of earlier versions do not.

    Attributes:
        seen: for each graph's file the first `KEPT` of its passes.
        last: file and outputs of the last pass.
        broken: outputs that were not finite in some pass, ``file: name``.
    """

    def __init__(self, bundle: Bundle, threads: int | None = None, *, logits: bool = True) -> None:
        provider = provider_of(bundle.manifest.runtime)
        super().__init__(bundle, threads, open_graph=_opener(provider) if logits else None)
        self.seen: dict[str, list[Seen]] = {}
        self.broken: set[str] = set()
        self.last: tuple[str, dict[str, NDArray[Any]]] = ("", {})

    def close(self) -> None:
        """Give the sessions' memory back; what was seen stays."""
        del self.graphs
        self._past = {}

    def refresh_logits(
        self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE
    ) -> NDArray[np.float32]:
        """The logits behind `refresh`, ``[1, block, vocab]``."""
        return self.refresh_outputs(tokens, start, stop, scope)[LOGITS]

    def step_logits(
        self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE
    ) -> NDArray[np.float32]:
        """The logits behind `step`, ``[1, block, vocab]``."""
        return self.step_outputs(tokens, start, stop, scope)[LOGITS]

    def refresh_outputs(
        self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE
    ) -> dict[str, NDArray[Any]]:
        """Everything that the refresh graph hands out."""
        return self._run_refresh(tokens, start, stop, scope)

    def step_outputs(
        self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE
    ) -> dict[str, NDArray[Any]]:
        """Everything that the step graph hands out, or the refresh graph where there is no other."""
        if self.graphs.step is None:
            return self._run_refresh(tokens, start, stop, scope)
        return self._run_step(tokens, start, stop, scope, every=True)

    def _outputs_of(
        self,
        file: str,
        session: Session,
        names: list[str],
        feeds: dict[str, NDArray[Any]],
        held: HeldInputs | None = None,
    ) -> dict[str, NDArray[Any]]:
        found = super()._outputs_of(file, session, names, feeds, held)
        self.broken |= {
            f"{file}: {name}" for name, array in found.items() if not np.isfinite(array).all()
        }
        self.last = file, found
        kept = self.seen.setdefault(file, [])
        if len(kept) < KEPT:
            # the backend writes new keys and values into those that a refresh has handed out
            outputs = {name: array.copy() for name, array in found.items()}
            kept.append(Seen(feeds | ({} if held is None else held.arrays), outputs))
        return found


def plain_difference(
    path: Path, seen: Sequence[Seen], provider: Provider = CPU
) -> tuple[float, str]:
    """How far a graph's outputs are from those seen, in a session as anybody opens it.

    Args:
        path: the graph.
        seen: what it was given and answered in the product's session.
        provider: what it was written for.

    Returns:
        The largest difference of an output, relative to the output's largest value, and the
        output's name. Tokens differ or do not: 0 or 1.
    """
    session = provider.open_plain(path)
    names = [output.name for output in session.get_outputs()]
    worst = (0.0, names[0])
    for one in seen:
        for name, array in zip(names, session.run(names, one.feeds), strict=True):
            worst = max(worst, (_relative(one.outputs[name], array), name))
    return worst


def _relative(ours: NDArray[Any], theirs: NDArray[Any]) -> float:
    if ours.dtype.kind in "iu":
        return float((ours != theirs).any())
    scale = max(float(np.abs(ours).max(initial=0.0)), float(np.finfo(np.float32).tiny))
    found = float(np.abs(ours - theirs).max(initial=0.0)) / scale
    return found if np.isfinite(found) else float("inf")


def _opener(provider: Provider) -> OpenGraph:
    """Opens the product's session of a graph that has `LOGITS` as one more output.

    It raises `VerificationError` where the graph has no value of that name, or does not load.
    """

    def opened(path: Path, threads: int | None) -> Session:
        model = read_bytes(path, GRAPH_FILE) + float_output(LOGITS)

        def options() -> ort.SessionOptions:
            found = provider.session_options(model, threads)
            found.add_session_config_entry(_WEIGHTS_FOLDER, str(path.parent))
            return found

        try:
            return provider.open_with(model, options, threads)
        except Exception as error:  # onnxruntime raises classes of its own, and RuntimeError
            line = str(error).strip().splitlines()[0]
            raise VerificationError(
                f"{path}: onnxruntime does not open it with its logits ({line}); export the bundle "
                "again"
            ) from error

    return opened


def float_output(name: str) -> bytes:
    """What to append to a model's bytes to make a float value of its graph an output, too."""
    tensor = bytes([_ELEMENT << 3, _FLOAT])
    value = _field(_NAME, name.encode()) + _field(_TYPE, _field(_TENSOR, tensor))
    return _field(_GRAPH, _field(_OUTPUT, value))


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited protobuf field of fewer than 128 bytes."""
    assert number < 16 and len(content) < 128, "longer ones need more than one byte of length"
    return bytes([number << 3 | 2, len(content)]) + content
