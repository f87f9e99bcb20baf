"""The onnxruntime backend: decodes a bundle's two graphs. numpy and onnxruntime, no torch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.backend import GREEDY, GumbelNoise, Prediction, Sampling, Tokens
from hwsearch.decoding.cache import outside
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import WHOLE, Scope
from hwsearch.errors import InputError
from hwsearch.files import refused_by
from hwsearch.forecast.fitting import JudgedForecast
from hwsearch.runtime.bundle import REFRESH_FILE, STEP_FILE, Bundle
from hwsearch.runtime.graphs import BEFORE, BundleGraphs, HeldInputs, OpenGraph
from hwsearch.runtime.guards.graph_ends import check_cache, check_predictions, check_signals
from hwsearch.runtime.guards.graph_file import GRAPH_FILE
from hwsearch.runtime.keepers import LayerKeepers
from hwsearch.runtime.providers import Session
from hwsearch.runtime.state import NEXT, PassState


class OnnxBackend:
    """Decodes with onnxruntime, one sequence at a time. Call `begin` before each generation.

    It holds one generation, so two threads need two of them: `sharing` makes another over the same
    sessions.

    Args:
        bundle: the bundle to run, or its graphs where they are open.
        threads: threads of one operator; None lets onnxruntime choose.
        listen: called at each refresh with a layer and the attention mass ``[1, length]`` that the
            bundle's graph hands out for it.
        open_graph: opens a graph; None opens it as the product does.
    """

    def __init__(
        self,
        bundle: Bundle | BundleGraphs,
        threads: int | None = None,
        listen: Callable[[int, NDArray[np.float32]], None] | None = None,
        open_graph: OpenGraph | None = None,
    ) -> None:
        if not isinstance(bundle, BundleGraphs):
            bundle = BundleGraphs(bundle, threads, open_graph)
        self.graphs = bundle
        self.listen = listen
        self._keepers = LayerKeepers(self.graphs.kept_shares)
        self._cache: dict[str, NDArray[np.float32]] = {}
        self._past: dict[tuple[int, int], HeldInputs] = {}
        self._noise = GumbelNoise(self.graphs.sampling)
        self._state = PassState(self.graphs.state_shapes)

    @property
    def kept_shares(self) -> KeptShares:
        """How much of the cache each layer keeps."""
        return self.graphs.kept_shares

    @property
    def forecast(self) -> JudgedForecast | None:
        """What passes are foreseen by; None where the bundle's decoding asks for nothing."""
        return self.graphs.forecast

    def sharing(self) -> OnnxBackend:
        """Another backend over the same sessions, for a generation of its own in any thread."""
        return OnnxBackend(self.graphs)

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        """Forget the sink scores of the generation before.

        Raises:
            InputError: the bundle's graphs choose tokens in another way.
        """
        if replace(sampling, seed=0) not in (self.graphs.sampling, GREEDY):
            raise InputError(
                f"this bundle was exported to predict by {self.graphs.sampling}, not by {sampling}; "
                "decode it as its bundle.json says, or export it for the other decoding"
            )
        self._noise = GumbelNoise(replace(self.graphs.sampling, seed=sampling.seed))
        self._keepers = LayerKeepers(self.kept_shares)
        self._state.begin()

    def refresh(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """A full pass over ``[1, length]``; see `hwsearch.decoding.backend.Backend`."""
        return self._prediction(self._run_refresh(tokens, start, stop, scope), stop - start)

    def step(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """Some rows against the cache; see `hwsearch.decoding.backend.Backend`."""
        if self.graphs.step is None:
            return self.refresh(tokens, start, stop, scope)
        return self._prediction(self._run_step(tokens, start, stop, scope), stop - start)

    def _run_refresh(
        self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE
    ) -> dict[str, NDArray[Any]]:
        """All outputs of a full pass; the cache is filled from them."""
        feeds = {"tokens": tokens, "start": np.array(start), **self._carried(start)}
        if self.graphs.windowed:
            shown = scope.positions
            feeds["positions"] = np.arange(tokens.shape[1]) if shown is None else shown
        elif scope is not WHOLE:
            raise self._not_exported()
        found = self._outputs_of(
            REFRESH_FILE, self.graphs.refresh, self.graphs.refresh_outputs, feeds
        )
        self._cache = {name: found[name] for name in self.graphs.cached}
        check_cache(self._cache, tokens.shape[1])
        self._past = {}
        if self.graphs.step is not None:
            layers = range(len(self.kept_shares.shares))
            signals = {n: found[f"mass_{n}"] for n in layers if f"mass_{n}" in found}
            check_signals(signals, tokens.shape[1])
            if self.listen is not None:
                for layer, signal in signals.items():
                    self.listen(layer, signal)
            self._keepers.see(tokens.shape[1], signals, scope.tail)
        return found

    def _run_step(
        self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE, every: bool = False
    ) -> dict[str, NDArray[Any]]:
        """Outputs of a step: its predictions, and its keys and values if they are stored or asked for."""
        assert self.graphs.step is not None
        feeds, past = self._step_feeds(tokens, start, stop, scope)
        if not (every or scope.store):
            names = self.graphs.predictions
            return self._outputs_of(STEP_FILE, self.graphs.step, names, feeds, past)
        names = self.graphs.step_outputs
        found = self._outputs_of(STEP_FILE, self.graphs.step, names, feeds | past.arrays)
        if scope.store:
            assert scope.rows is not None
            for name, old in self._cache.items():
                new = found[NEXT + name]
                self._cache[name] = new if name == BEFORE else _placed(old, new, *scope.rows)
            self._past = {}
        return found

    def _prediction(self, found: dict[str, NDArray[Any]], rows: int) -> Prediction:
        check_predictions(found, rows)
        moved = self._state.keep(found)
        return Prediction(
            found["token"],
            found["confidence"],
            found.get("entropy"),
            moved,
            found.get("logits"),
            found.get("hidden"),
        )

    def _outputs_of(
        self,
        file: str,
        session: Session,
        names: list[str],
        feeds: dict[str, NDArray[Any]],
        held: HeldInputs | None = None,
    ) -> dict[str, NDArray[Any]]:
        """Some outputs of a graph, by name; `held` are inputs that it takes beside `feeds`."""
        if held is not None:
            return held.run(feeds)
        with refused_by("onnxruntime", file, GRAPH_FILE):
            return dict(zip(names, session.run(names, feeds), strict=True))

    def _step_feeds(
        self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE
    ) -> tuple[dict[str, NDArray[Any]], HeldInputs]:
        """Inputs of a step: its own, and those of the cache, chosen once between two refreshes."""
        first, last = scope.rows or (start, stop)
        if scope.store:
            self._make_room(tokens.shape[1], scope.tail)
        feeds = {"tokens": tokens[:, first:last], "start": np.array(start), **self._carried(start)}
        if self.graphs.windowed:
            shown = np.arange(tokens.shape[1]) if scope.positions is None else scope.positions
            feeds |= {"start": np.array(start - first), "positions": shown[first:last]}
        elif scope is not WHOLE:
            raise self._not_exported()
        if (first, last) not in self._past:
            past = self._outside(tokens.shape[1], first, last)
            self._past[first, last] = HeldInputs(self.graphs.step, self.graphs.predictions, past)
        return feeds, self._past[first, last]

    def _make_room(self, length: int, tail: int) -> None:
        """Fit what is known to a sequence that shows more positions than before, all to be run."""
        self._past = {}
        self._keepers.advance(length, tail)

    def _carried(self, start: int) -> dict[str, NDArray[Any]]:
        """Fresh noise and the state of the passes before, where the graphs take any."""
        shape = self.graphs.noise_shape
        noise = {} if shape is None else {"noise": self._noise.draw(*shape)}
        return noise | self._state.feeds(start)

    def _outside(self, length: int, first: int, last: int) -> dict[str, NDArray[np.float32]]:
        """Keys and values of the positions that layers keep of a sequence, outside first..last."""
        past = {BEFORE: self._cache[BEFORE]} if BEFORE in self._cache else {}
        chosen = self._keepers.choose(length, first, last)
        every = outside(1, length, first, last)[0]
        for layer in range(len(self.kept_shares.shares)):
            kept = chosen.get(layer, every)
            for name in (f"key_{layer}", f"value_{layer}"):
                past[name] = self._cache[name].take(kept, axis=2)
        return past

    def _not_exported(self) -> InputError:
        return InputError(
            "this bundle's graphs run whole sequences and blocks alone; export it again with the "
            "window or suffix_window that it shall be decoded with"
        )


def _placed(
    old: NDArray[np.float32], new: NDArray[np.float32], first: int, last: int
) -> NDArray[np.float32]:
    """Cached keys or values with new ones at first..last; written into the old ones where they fit."""
    if last > old.shape[2]:
        return np.concatenate((old[:, :, :first], new), axis=2)
    old[:, :, first:last] = new
    return old
