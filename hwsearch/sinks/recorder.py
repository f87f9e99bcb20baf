"""Sink statistics of a denoising trajectory, added up pass by pass.

Memory is O(layers x heads x length) and does not grow with the passes, but for one number a pass and
head; masses by pass, summed over heads, are kept only where heat maps are wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.cache import SOFT_ALPHA, SOFT_K
from hwsearch.errors import InputError
from hwsearch.sinks import formulas
from hwsearch.sinks.accumulator import LayerAccumulator, Series, masked_soft
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
        concentration: share of a layer's mass that its k sinks receive in a pass, from ``k / length``
            (attention is even) to 1 (sinks receive all): ``sum_S m_t(i) / sum_i m_t(i)``,
            ``[passes, batch, layers]``.
        overlap: share of a layer's sinks that were sinks of the pass before, ``[passes - 1, ...]``.
        soft: soft sink score, mean over passes, ``[batch, layers, length]``.
        soft_global: the same of the mass summed over layers, ``[batch, length]``.
        by_pass: mass summed over heads, ``[passes, batch, layers, length]``; None if not kept.
        tokens: tokens of each pass, ``[passes, batch, length]``; None if not kept, or not told.
        prompts: tokens of each prompt, ``[batch]``; None where nobody said.
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
    concentration: Floats = field(repr=False)
    overlap: Floats = field(repr=False)
    soft: Floats = field(repr=False)
    soft_global: Floats = field(repr=False)
    by_pass: NDArray[np.float32] | None = field(repr=False)
    tokens: NDArray[np.int64] | None = field(repr=False, default=None)
    prompts: NDArray[np.int64] | None = field(repr=False, default=None)

    @property
    def first_position(self) -> NDArray[np.int64]:
        """Where each sequence begins, ``[batch]``: 0 unless it is padded on the left."""
        return (self.present > 0).argmax(axis=1)

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
        """Variance over positions of each layer's mean mass, squared queries, ``[batch, layers]``."""
        return formulas.spatial_variance(self.mean_mass.sum(axis=2), self.present > 0)

    @property
    def temporal_variance(self) -> Floats:
        """Variance over passes of each layer's centroid, squared positions, ``[batch, layers]``."""
        return formulas.temporal_variance(self.centroids)


class SinkRecorder:
    """Adds up statistics of trajectories of one length.

    For each pass call `add` once for each layer, in any order, then `end_pass`.

    Args:
        k: sinks of a pass: a whole number, or a share of the positions below 1.
        soft_k, soft_alpha: of the soft sink score.
        keep_passes: keep masses by pass, summed over heads, for heat maps and places; tokens, too.
        prompts: tokens of each prompt, ``[batch]``, where there are prompts.
        watch: called with every mass as it comes.
    """

    def __init__(
        self,
        k: float = TOP_K,
        *,
        soft_k: float = SOFT_K,
        soft_alpha: float = SOFT_ALPHA,
        keep_passes: bool = False,
        prompts: Sequence[int] | None = None,
        watch: Watcher | None = None,
    ) -> None:
        self.k = k
        self._prompts = None if prompts is None else np.asarray(prompts, dtype=np.int64)
        self._tokens: list[NDArray[np.int64]] = []
        self._soft = (soft_k, soft_alpha)
        self._keep = keep_passes
        self._watch = watch
        self._layers: dict[int, LayerAccumulator] = {}
        self._held: dict[int, NDArray[np.float32]] = {}
        self._pending: dict[int, Flags | None] = {}
        self._soft_global: Floats | None = None
        self._present: NDArray[np.int32] | None = None
        self.passes = 0

    def add(
        self, layer: int, mass: NDArray[np.float32], valid: NDArray[np.bool_] | None = None
    ) -> None:
        """One layer's mass ``[batch, heads, length]`` in the present pass.

        Args:
            layer: the layer.
            mass: attention mass by head; a model that tells only sums has one head. It is copied.
            valid: ``[batch, length]``, False where a position is not there.
        """
        if self._watch is not None:
            self._watch(self.passes, layer, mass)
        if layer not in self._held:
            self._held[layer] = np.empty(mass.shape, dtype=np.float32)
        self._held[layer][...] = mass
        self._pending[layer] = valid

    def end_pass(self, tokens: NDArray[np.integer] | None = None) -> None:
        """All layers have been added.

        Args:
            tokens: what the pass ran on, ``[batch, length]``; copied where passes are kept.

        They are counted only now, into arrays that stay where they are: small ones that outlive a pass,
        made in the midst of its large short-lived ones, would leave the heap in pieces that no later
        pass can use.

        Raises:
            InputError: there are fewer positions than sinks were asked for.
        """
        assert self._pending, "a pass has at least one layer"
        summed: Floats | float = 0.0
        for layer, valid in self._pending.items():
            mass = self._held[layer]
            sums = self._layers.get(layer)
            if sums is None:
                sums = self._layers[layer] = LayerAccumulator(mass.shape, self._keep)
            summed = summed + sums.add(mass, valid, self.k, self._soft)
        self._count_all(np.asarray(summed), valid)
        if self._keep and tokens is not None:
            self._tokens.append(np.array(tokens, dtype=np.int64))
        self._pending.clear()
        self.passes += 1

    def _count_all(self, summed: Floats, valid: Flags | None) -> None:
        """Count the mass summed over all heads and layers, ``[batch, length]``."""
        if self._present is None or self._soft_global is None:
            self._present = np.zeros(summed.shape, dtype=np.int32)
            self._soft_global = np.zeros(summed.shape)
        self._present += 1 if valid is None else valid
        self._soft_global += masked_soft(summed, valid, *self._soft)

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

        def by_layer(name: str, axis: int) -> NDArray[Any]:
            found = [getattr(sums, name) for sums in tallies]
            parts = [part.array() if isinstance(part, Series) else part for part in found]
            return np.stack(parts, axis=axis)

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
            concentration=by_layer("concentration", 2),
            overlap=by_layer("overlap", 2)
            if self.passes > 1
            else np.empty((0, len(self._present), len(tallies))),
            soft=by_layer("soft", 1) / self.passes,
            soft_global=self._soft_global / self.passes,
            by_pass=by_layer("by_pass", 2) if self._keep else None,
            tokens=np.stack(self._tokens) if len(self._tokens) == self.passes else None,
            prompts=self._prompts,
        )
