"""The graphs of a bundle, opened with onnxruntime: all that generations of one bundle share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from hwsearch.decoding.backend import Sampling
from hwsearch.errors import InputError
from hwsearch.files import refused_by
from hwsearch.forecast.fitting import JudgedForecast
from hwsearch.forecast.store import load
from hwsearch.plan import CompressionPlan
from hwsearch.runtime.bundle import (
    FORECAST_FILE,
    PLAN_FILE,
    REFRESH_FILE,
    STEP_FILE,
    Bundle,
    owner_of,
)
from hwsearch.runtime.guards.graph_ends import check_ends
from hwsearch.runtime.guards.graph_file import GRAPH_FILE
from hwsearch.runtime.providers import Session, provider_of, session_for
from hwsearch.runtime.state import CREDIT, LOGP, NEXT

#: The state before the block, in models whose logits are shifted by one.
BEFORE = "before"

_CACHED = ("key_", "value_")

#: Opens a graph with so many threads; None lets onnxruntime choose.
OpenGraph = Callable[[Path, int | None], Session]


class BundleGraphs:
    """The sessions of a bundle, and what the graphs say of themselves.

    Nothing of it changes once it is made, and onnxruntime's sessions may run in several threads at a
    time; so may the backends that share it.

    Args:
        bundle: the bundle to open.
        threads: threads of one operator; None lets onnxruntime choose.
        open_graph: opens a graph; None opens it with the provider that the bundle was exported for.

    Attributes:
        kept_shares: how much of the cache each layer keeps.
        sampling: how the graphs predict, its seed left at 0.
        refresh: the session of full passes.
        step: that of steps; None for a model of one's own, which has full passes only.
        refresh_outputs, step_outputs: names of what each hands out.
        cached: those of a refresh that steps need: keys, values, and the state before the block.
        predictions: what a step hands out besides new ones of those.
        noise_shape: of the noise that passes take; None where they take none.
        state_shapes: shapes of the state that passes hand on, by name.
        windowed: whether passes are told the positions they see.
        forecast: what passes are foreseen by; None where the bundle's decoding asks for nothing.
    """

    def __init__(
        self, bundle: Bundle, threads: int | None = None, open_graph: OpenGraph | None = None
    ) -> None:
        open_graph = open_graph or provider_of(bundle.manifest.runtime).open
        self.kept_shares = bundle.kept_shares
        self.sampling = Sampling.of(bundle.manifest.decoding)
        self.refresh = _opened(open_graph, bundle.path / REFRESH_FILE, threads)
        self.step: Session | None = None
        if bundle.manifest.passes == "cached":
            self.step = _opened(open_graph, bundle.path / STEP_FILE, threads)
        with refused_by("onnxruntime", bundle.path, GRAPH_FILE):  # names that are no text
            check_ends(bundle, self.refresh, self.step)
        self.refresh_outputs = _names(self.refresh.get_outputs())
        self.step_outputs = [] if self.step is None else _names(self.step.get_outputs())
        self.cached = [n for n in self.refresh_outputs if n == BEFORE or n.startswith(_CACHED)]
        kept = {NEXT + name for name in self.cached}
        self.predictions = [name for name in self.step_outputs if name not in kept]
        inputs: dict[str, Any] = {value.name: value.shape for value in self.refresh.get_inputs()}
        self.noise_shape: Sequence[int] | None = inputs.get("noise")
        self.state_shapes: dict[str, Any] = {
            name: inputs[name] for name in (LOGP, CREDIT) if name in inputs
        }
        self.windowed = "positions" in inputs
        self.forecast = forecast_of(bundle)


class HeldInputs:
    """Inputs that are bound to a graph once, for all runs until others take their place.

    onnxruntime copies no array of numpy's, but each run looks every input up by name again. Over the
    keys and values of all layers that is about 1 % of a step of gsm-mini.

    Args:
        session: the graph.
        names: the outputs that runs are asked for.
        arrays: the inputs that stay, by name.
    """

    def __init__(self, session: Session, names: list[str], arrays: dict[str, NDArray[Any]]) -> None:
        self.arrays = arrays
        self._session = session
        self._names = names
        self._binding: ort.IOBinding | None = None

    def run(self, feeds: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name; `feeds` are the graph's other inputs."""
        # the binding points into these arrays, which must live until the run is over
        feeds = {name: np.asarray(array, order="C") for name, array in feeds.items()}
        session = session_for(self._session, self.arrays | feeds)
        binding = self._binding or self._bind(session)
        for name, array in feeds.items():
            binding.bind_cpu_input(name, array)
        with refused_by("onnxruntime", "a pass", GRAPH_FILE):
            session.run_with_iobinding(binding)
        return dict(zip(self._names, binding.copy_outputs_to_cpu(), strict=True))

    def _bind(self, session: ort.InferenceSession) -> ort.IOBinding:
        self._binding = binding = session.io_binding()
        self.arrays = {name: np.asarray(array, order="C") for name, array in self.arrays.items()}
        for name, array in self.arrays.items():
            binding.bind_cpu_input(name, array)
        for name in self._names:
            binding.bind_output(name)
        return binding


def _opened(open_graph: OpenGraph, path: Path, threads: int | None) -> Session:
    with refused_by("onnxruntime", path, GRAPH_FILE):
        return open_graph(path, threads)


def _names(values: Sequence[Any]) -> list[str]:
    return [value.name for value in values]


def forecast_of(bundle: Bundle) -> JudgedForecast | None:
    """The forecast of a bundle; None where its decoding asks for nothing.

    Raises:
        InputError: it is missing, no forecast, or that of another plan or decoding.
    """
    decoding = bundle.manifest.decoding
    if decoding.forecast is None:
        return None
    plan = CompressionPlan.read(bundle.path / PLAN_FILE)
    fitted = load(bundle.path / FORECAST_FILE)
    if fitted.belongs_to != owner_of(plan, decoding):
        raise InputError(
            f"{bundle.path / FORECAST_FILE}: fitted for another plan or decoding; export the bundle again"
        )
    return fitted
