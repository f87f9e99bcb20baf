"""The onnxruntime backend: decodes a bundle's two graphs. numpy and onnxruntime, no torch."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from hwsearch.decoding.backend import GREEDY, GumbelNoise, Prediction, Sampling, Tokens
from hwsearch.decoding.cache import outside
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.errors import InputError
from hwsearch.runtime.bundle import REFRESH_FILE, STEP_FILE, Bundle

#: Makes onnxruntime use exact products with int8 weights where an x86 CPU has no VNNI and its quick
#: ones would saturate. Exports hold uint8 weights, exact without it, and cost nothing with it; earlier
#: bundles hold int8 ones.
_EXACT_INT8 = ("session.x64quantprecision", "1")

_CPUINFO = Path("/proc/cpuinfo")

#: onnxruntime's severity "error": it warns about shapes it inferred itself.
_ERRORS_ONLY = 3


class OnnxBackend:
    """Decodes with onnxruntime, one sequence at a time. Call `begin` before each generation.

    Args:
        bundle: the bundle to run.
        threads: threads of one operator; None lets onnxruntime choose.
        listen: called at each refresh with a layer and the attention mass ``[1, length]`` that the
            bundle's graph hands out for it.
        open_graph: opens a graph; None opens it as the product does.
    """

    def __init__(
        self,
        bundle: Bundle,
        threads: int | None = None,
        listen: Callable[[int, NDArray[np.float32]], None] | None = None,
        open_graph: Callable[[Path, int | None], ort.InferenceSession] | None = None,
    ) -> None:
        open_graph = open_graph or open_session
        self.listen = listen
        self.kept_shares = bundle.kept_shares
        self._refresh = open_graph(bundle.path / REFRESH_FILE, threads)
        self._step = None
        if bundle.manifest.passes == "cached":
            self._step = open_graph(bundle.path / STEP_FILE, threads)
        self._outputs = [output.name for output in self._refresh.get_outputs()]
        self._keepers: dict[int, PositionKeeper] = {}
        self._past: dict[str, NDArray[np.float32]] = {}
        self._sampling = Sampling.of(bundle.manifest.decoding)
        self._noise = GumbelNoise(self._sampling)
        inputs = {value.name: value for value in self._refresh.get_inputs()}
        self._noise_shape = inputs["noise"].shape if "noise" in inputs else None

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        """Forget the sink scores of the generation before.

        Raises:
            InputError: the bundle's graphs choose tokens in another way.
        """
        if replace(sampling, seed=0) not in (self._sampling, GREEDY):
            raise InputError(
                f"this bundle was exported to predict by {self._sampling}, not by {sampling}; "
                "decode it as its bundle.json says, or export it for the other decoding"
            )
        self._noise = GumbelNoise(replace(self._sampling, seed=sampling.seed))
        kept = self.kept_shares
        self._keepers = {layer: PositionKeeper(kept, layer) for layer in kept.pruned}

    def refresh(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        """A full pass over ``[1, length]``; see `hwsearch.decoding.backend.Backend`."""
        found = self._run_refresh(tokens, start, stop)
        return Prediction(found["token"], found["confidence"])

    def step(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        """The block's rows against the cache; see `hwsearch.decoding.backend.Backend`."""
        if self._step is None:
            return self.refresh(tokens, start, stop)
        feeds = self._step_feeds(tokens, start, stop)
        return Prediction(*self._step.run(["token", "confidence"], feeds))

    def _run_refresh(self, tokens: Tokens, start: int, stop: int) -> dict[str, NDArray[Any]]:
        """All outputs of a full pass; the cache is filled from them."""
        feeds = {"tokens": tokens, "start": np.array(start), **self._drawn()}
        found = self._outputs_of(REFRESH_FILE, self._refresh, self._outputs, feeds)
        self._past = {}
        for layer in range(len(self.kept_shares.shares) if self._step else 0):
            signal = found.get(f"mass_{layer}")
            if self.listen is not None and signal is not None:
                self.listen(layer, signal)
            kept = self._kept(layer, tokens.shape[1], start, stop, signal)
            for name in (f"key_{layer}", f"value_{layer}"):
                self._past[name] = found[name].take(kept, axis=2)
        if "before" in found:
            self._past["before"] = found["before"]
        return found

    def _outputs_of(
        self,
        file: str,
        session: ort.InferenceSession,
        names: list[str],
        feeds: dict[str, NDArray[Any]],
    ) -> dict[str, NDArray[Any]]:
        """Some outputs of a graph, by name."""
        return dict(zip(names, session.run(names, feeds), strict=True))

    def _step_feeds(self, tokens: Tokens, start: int, stop: int) -> dict[str, NDArray[Any]]:
        feeds = {"tokens": tokens[:, start:stop], "start": np.array(start), **self._past}
        return feeds | self._drawn()

    def _drawn(self) -> dict[str, NDArray[np.float64]]:
        """Fresh noise, where the graphs take any."""
        return {} if self._noise_shape is None else {"noise": self._noise.draw(*self._noise_shape)}

    def _kept(
        self,
        layer: int,
        length: int,
        start: int,
        stop: int,
        signal: NDArray[np.float32] | None,
    ) -> NDArray[np.int64]:
        """Positions that a layer keeps outside the block, ``[kept]``."""
        if layer in self._keepers:
            return self._keepers[layer].refresh((1, length), start, stop, signal)[0]
        return outside(1, length, start, stop)[0]


def open_session(graph: Path | bytes, threads: int | None) -> ort.InferenceSession:
    """An onnxruntime session of one graph, a file or its bytes, on the CPU."""
    model = graph if isinstance(graph, bytes) else str(graph)
    return ort.InferenceSession(model, session_options(threads), providers=["CPUExecutionProvider"])


def session_options(threads: int | None) -> ort.SessionOptions:
    """How the product opens a graph."""
    options = ort.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    options.inter_op_num_threads = 1
    if threads is not None:
        options.intra_op_num_threads = threads
    if _int8_saturates():
        options.add_session_config_entry(*_EXACT_INT8)
    return options


@cache
def _int8_saturates() -> bool:
    """Whether this CPU's quick products with int8 weights lose carries: x86 without VNNI."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return not (_CPUINFO.is_file() and "vnni" in _CPUINFO.read_text(encoding="utf-8"))
