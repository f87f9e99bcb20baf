"""Sink statistics of a denoising trajectory, added up pass by pass.

Memory is O(layers x heads x length) and does not grow with the passes, but for one number a pass and
head; masses by pass, summed over heads, are kept only where heat maps are wanted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.cache import SOFT_ALPHA, SOFT_K, soft_scores
from hwsearch.errors import InputError
from hwsearch.sinks import formulas
from hwsearch.sinks.formulas import TOP_K, Flags, Floats

#: Called with a pass, a layer and its mass ``[batch, heads, length]``, for whoever wants it all.
Watcher = Callable[[int, int, NDArray[np.float32]], None]


@dataclass(frozen=True, eq=False)
class SinkStatistics:
    """What was recorded of some trajectories of one length.

    Axes: passes, batch, layers, heads, positions; those a quantity has, in this order.

    Attributes:
        k: sinks of a pass: a number, or a share of the positions.
        passes: passes recorded.
        mean_mass: ``m(i)``, mean over passes, ``[batch, layers, heads, length]``.
        hits: passes in which a position was a sink of a head, the same shape.
        layer_hits: passes in which it was a sink of a layer, ``[batch, layers, length]``.
        present: passes in which a position was there at all, ``[batch, length]``.
        centroids: ``c_t`` of each layer, ``[passes, batch, layers]``.
        head_centroids: ``c_t`` of each head, ``[passes, batch, layers, heads]``.
        sink_means: mean position of each head's sinks, ``[passes, batch, layers, heads]``.
        sink_mass: share of a layer's mass on its sinks, ``[passes, batch, layers]``.
        overlap: share of a layer's sinks that were sinks of the pass before, ``[passes - 1, ...]``.
        soft: soft sink score, mean over passes, ``[batch, layers, length]``.
        soft_global: the same of the mass summed over layers, ``[batch, length]``.
        by_pass: mass summed over heads, ``[passes, batch, layers, length]``; None if not kept.
    """

    k: float
    passes: int
    mean_mass: Floats = field(repr=False)
    hits: NDArray[np.int32] = field(repr=False)
    layer_hits: NDArray[np.int32] = field(repr=False)
    present: NDArray[np.int32] = field(repr=False)
    centroids: Floats = field(repr=False)
    head_centroids: Floats = field(repr=False)
    sink_means: Floats = field(repr=False)
    sink_mass: Floats = field(repr=False)
    overlap: Floats = field(repr=False)
    soft: Floats = field(repr=False)
    soft_global: Floats = field(repr=False)
    by_pass: NDArray[np.float32] | None = field(repr=False)

    @property
    def frequency(self) -> Floats:
        """Share of the passes in which a position was a sink, ``[batch, layers, heads, length]``."""
        return formulas.frequency(self.hits, self.present[:, None, None])

    @property
    def variance(self) -> Floats:
        """``1 - frequency``, ``[batch, layers, heads, length]``."""
        return 1.0 - self.frequency

    @property
    def layer_variance(self) -> Floats:
        """The same of each layer as a whole, ``[batch, layers, length]``."""
        return 1.0 - formulas.frequency(self.layer_hits, self.present[:, None])

    @property
    def sink_position_variance(self) -> Floats:
        """``Var(sink positions over t)``: of their mean position, ``[batch, layers, heads]``."""
        return self.sink_means.var(axis=0)

    @property
    def spatial_variance(self) -> Floats:
        """Variance over positions of each layer's mean mass, ``[batch, layers]``."""
        return formulas.spatial_variance(self.mean_mass.sum(axis=2), self.present > 0)

    @property
    def temporal_variance(self) -> Floats:
        """Variance over passes of each layer's centroid, ``[batch, layers]``."""
        return formulas.temporal_variance(self.centroids)


class SinkRecorder:
    """Adds up statistics of trajectories of one length.

    For each pass call `add` once for each layer, in any order, then `end_pass`.

    Args:
        k: sinks of a pass: a whole number, or a share of the positions below 1.
        soft_k, soft_alpha: of the soft sink score.
        keep_passes: keep masses by pass, summed over heads, for heat maps.
        watch: called with every mass as it comes.
    """

    def __init__(
        self,
        k: float = TOP_K,
        *,
        soft_k: float = SOFT_K,
        soft_alpha: float = SOFT_ALPHA,
        keep_passes: bool = False,
        watch: Watcher | None = None,
    ) -> None:
        self.k = k
        self._soft = (soft_k, soft_alpha)
        self._keep = keep_passes
        self._watch = watch
        self._layers: dict[int, _LayerTally] = {}
        self._summed: NDArray[np.float64] | None = None
        self._soft_global: Floats | None = None
        self._present: NDArray[np.int32] | None = None
        self.passes = 0

    def add(
        self, layer: int, mass: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
    ) -> None:
        """One layer's mass ``[batch, heads, length]`` in the present pass.

        Args:
            layer: the layer.
            mass: attention mass by head; a model that tells only sums has one head.
            valid: ``[batch, length]``, False where a position is not there.

        Raises:
            InputError: there are fewer positions than sinks were asked for.
        """
        if self._watch is not None:
            self._watch(self.passes, layer, mass)
        tally = self._layers.setdefault(layer, _LayerTally(self.k, self._soft, self._keep))
        summed = tally.add(mass, valid)
        self._summed = summed if self._summed is None else self._summed + summed
        if self._present is None:
            self._present = np.zeros((mass.shape[0], mass.shape[2]), dtype=np.int32)
        if layer == min(self._layers):
            self._present += 1 if valid is None else valid
            self._valid = valid

    def end_pass(self) -> None:
        """All layers have been added."""
        assert self._summed is not None, "a pass has at least one layer"
        soft = masked_soft(self._summed, self._valid, *self._soft)
        self._soft_global = soft if self._soft_global is None else self._soft_global + soft
        self._summed = None
        self.passes += 1

    def statistics(self) -> SinkStatistics:
        """What was recorded so far.

        Raises:
            InputError: no pass was recorded, because the model offers no attention.
        """
        if not self.passes or self._present is None or self._soft_global is None:
            raise InputError(
                "no attention was recorded: the model offers none, or ran no full pass"
            )
        tallies = [self._layers[layer] for layer in sorted(self._layers)]

        def by_layer(name: str, axis: int) -> NDArray:
            return np.stack([np.asarray(getattr(tally, name)) for tally in tallies], axis=axis)

        return SinkStatistics(
            k=self.k,
            passes=self.passes,
            mean_mass=by_layer("mass", 1) / self.passes,
            hits=by_layer("hits", 1),
            layer_hits=by_layer("layer_hits", 1),
            present=self._present,
            centroids=by_layer("centroids", 2),
            head_centroids=by_layer("head_centroids", 2),
            sink_means=by_layer("sink_means", 2),
            sink_mass=by_layer("sink_mass", 2),
            overlap=by_layer("overlap", 2)
            if self.passes > 1
            else np.empty((0, len(self._present), len(tallies))),
            soft=by_layer("soft", 1) / self.passes,
            soft_global=self._soft_global / self.passes,
            by_pass=by_layer("by_pass", 2) if self._keep else None,
        )


class _LayerTally:
    """Running sums of one layer."""

    def __init__(self, k: float, soft: tuple[float, float], keep: bool) -> None:
        self._k, self._soft, self._keep = k, soft, keep
        self.mass: Floats | float = 0.0
        self.hits: NDArray[np.int32] | int = 0
        self.layer_hits: NDArray[np.int32] | int = 0
        self.soft: Floats | float = 0.0
        self.centroids: list[Floats] = []
        self.head_centroids: list[Floats] = []
        self.sink_means: list[Floats] = []
        self.sink_mass: list[Floats] = []
        self.overlap: list[Floats] = []
        self.by_pass: list[NDArray[np.float32]] = []
        self._before: Flags | None = None

    def add(self, mass: NDArray[np.float32], valid: Flags | None) -> Floats:
        """Count one pass; the mass summed over heads, ``[batch, length]``."""
        heads = formulas.sinks_of(mass, self._k, valid)
        summed = mass.sum(axis=1, dtype=np.float64)
        sinks = formulas.sinks_of(summed, self._k, valid)
        self.mass = self.mass + mass.astype(np.float64)
        self.hits = self.hits + heads.astype(np.int32)
        self.layer_hits = self.layer_hits + sinks.astype(np.int32)
        self.soft = self.soft + masked_soft(summed, valid, *self._soft)
        self.head_centroids.append(formulas.centroid(mass, heads))
        self.centroids.append(formulas.centroid(summed, sinks))
        self.sink_means.append(formulas.mean_position(heads))
        self.sink_mass.append((summed * sinks).sum(axis=1) / summed.sum(axis=1))
        if self._before is not None:
            self.overlap.append((sinks & self._before).sum(axis=1) / sinks.sum(axis=1))
        self._before = sinks
        if self._keep:
            self.by_pass.append(summed.astype(np.float32))
        return summed


def masked_soft(mass: Floats, valid: Flags | None, k: float, alpha: float) -> Floats:
    """Soft sink scores ``[batch, length]`` over the positions that are there; 0 elsewhere."""
    if valid is None:
        return soft_scores(mass, k, alpha)
    scores = np.zeros(mass.shape)
    for index, there in enumerate(valid):
        scores[index, there] = soft_scores(mass[index, there], k, alpha)
    return scores
