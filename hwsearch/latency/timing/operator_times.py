"""Time a model's operators on this machine, with the runtime that will run them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import onnx
import onnxruntime

from hwsearch.decoding.cache import kept_count
from hwsearch.decoding.kept import KeptPlan, KeptShares
from hwsearch.denoisers.geometry import Geometry
from hwsearch.formats.catalog import USUAL_FORMATS
from hwsearch.latency.devices.table import LatencyTable, Samples
from hwsearch.latency.operators import (
    OpKey,
    Workload,
    group_operators,
    mean_query_product,
    mixing,
    pass_operators,
    refresh_operators,
    step_operators,
)
from hwsearch.latency.timing.clock import interleave
from hwsearch.latency.timing.operator_graphs import Feeds, copies_of, probe_for, weight_bytes
from hwsearch.latency.timing.pinning import pinned
from hwsearch.plan import LINEAR_GROUPS, CompressionPlan, WeightFormat
from hwsearch.runtime.providers import CPU, Provider

#: Kept shares at which attention is timed; between them it is interpolated.
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)

#: Float weights of the probes that are open at once, in bytes.
BATCH_BYTES = 2e9

Progress = Callable[[Iterable[int]], Iterable[int]]


@dataclass(frozen=True)
class Kept:
    """Shares of heads and of channels that pruned layers keep.

    Attributes:
        heads: of the key / value heads, beside all of them.
        channels: of the mlp's channels, beside all of them.
    """

    heads: tuple[float, ...] = ()
    channels: tuple[float, ...] = ()

    def head_counts(self, geometry: Geometry) -> list[int | None]:
        """Numbers of heads, all of them (None) first."""
        return list(dict.fromkeys([None, *map(geometry.heads_of, self.heads)]))

    def channel_counts(self, geometry: Geometry) -> list[int | None]:
        """Numbers of channels, all of them (None) first."""
        return list(dict.fromkeys([None, *map(geometry.channels_of, self.channels)]))

    def sizes(self, geometry: Geometry) -> dict[str, list[int | None]]:
        """Both, by what they are called in a plan's layers."""
        return {
            "kept_heads": self.head_counts(geometry),
            "kept_channels": self.channel_counts(geometry),
        }


def operators_of(
    geometry: Geometry,
    workload: Workload,
    formats: Sequence[WeightFormat] = USUAL_FORMATS,
    kept: Kept | None = None,
) -> list[OpKey]:
    """Every operator that some plan of the model may need for the workload.

    Args:
        geometry: the model's sizes.
        workload: what is generated.
        formats: weight formats of the plans.
        kept: what pruned layers may keep.
    """
    kept = kept or Kept()
    sizes = {geometry.keeping(heads) for heads in kept.head_counts(geometry)}
    sizes |= {geometry.keeping(None, channels) for channels in kept.channel_counts(geometry)}
    return sorted({key for g in sizes for key in _operators(g, workload, formats)})


def _operators(g: Geometry, workload: Workload, formats: Sequence[WeightFormat]) -> set[OpKey]:
    """Operators of layers of one size, at the kept shares that are timed."""
    if g.causal:
        return _autoregressive(g, workload, formats)
    keys: set[OpKey] = set()
    for fmt in formats:
        for share in SHARES:
            uniform = CompressionPlan.uniform(1, fmt.value, fmt.value, head=fmt)
            plan = KeptPlan(uniform, KeptShares((share,)))
            keys |= set(refresh_operators(g, plan, workload))
            keys |= set(step_operators(g, plan, workload))
    block = workload.decoding.block_length
    fewest = kept_count(0.0, workload.outside) + block
    keys |= set(mixing(g, block, fewest)) | {mean_query_product(g, block, workload.length)}
    return keys | _windowed(g, workload, formats)


def _autoregressive(g: Geometry, workload: Workload, formats: Sequence[WeightFormat]) -> set[OpKey]:
    """Operators of a pass over the prompt, and of one over a token."""
    plans = (CompressionPlan.uniform(1, fmt.value, fmt.value, head=fmt) for fmt in formats)
    kept = [KeptPlan.keeping_all(plan) for plan in plans]
    shapes = workload.counts_by_shape(g)
    return {key for plan in kept for shape in shapes for key in pass_operators(g, plan, shape)}


def _windowed(g: Geometry, workload: Workload, formats: Sequence[WeightFormat]) -> set[OpKey]:
    """Operators of passes that run a block with some of what is around it.

    Products are timed at the rows of two blocks, which passes run that advance from one to the next.
    Attention is timed at the ends of its ranges, too, so that whatever a window runs lies between.
    """
    length, rows = workload.length, 2 * workload.decoding.block_length
    if rows >= length:
        return set()
    keys = {
        key
        for fmt in formats
        for group in LINEAR_GROUPS
        for key in group_operators(g, group, fmt, rows)
    }
    ranges = ((rows, length - rows), (length, workload.outside))
    for count, cached in ranges:
        for most in (kept_count(0.0, cached), cached):
            keys |= set(mixing(g, count, count + most))
    return keys


class OperatorTimer(Protocol):
    """Times operators side by side, once."""

    def __call__(
        self, keys: Sequence[OpKey], rounds: int, seed: int
    ) -> Mapping[OpKey, Sequence[float]]:
        """`rounds` samples of each operator in microseconds; `seed` is of the order of turns."""


@dataclass(frozen=True)
class OnnxOperatorTimer:
    """Times operators with onnxruntime: each call builds its probes and their sessions anew.

    Attributes:
        threads: threads onnxruntime may use.
        provider: what runs them.
    """

    threads: int = 1
    provider: Provider = CPU

    def __call__(
        self, keys: Sequence[OpKey], rounds: int, seed: int
    ) -> Mapping[OpKey, Sequence[float]]:
        """Samples of one copy of each operator; see `OperatorTimer`."""
        with pinned(self.threads):
            probes = {key: probe_for(self.provider, key) for key in keys}
            runs = open_probes(probes, self.threads, self.provider)
            timed = interleave(runs, rounds, seed=seed)
        return {key: [us / copies_of(key) for us in samples] for key, samples in timed.items()}


def profile(
    keys: Sequence[OpKey],
    *,
    timer: OperatorTimer | None = None,
    rounds: int = 10,
    sessions: int = 3,
    known: Samples | None = None,
    keep: Callable[[LatencyTable], None] | None = None,
    progress: Progress = iter,
) -> LatencyTable:
    """Time operators, interleaved, in several sessions.

    A session builds every probe anew, so that one unlucky placement in memory is one session's.
    Operators whose weights do not fit into `BATCH_BYTES` together take turns in batches.

    Args:
        keys: what to time.
        timer: times a batch of them; None is onnxruntime on one thread.
        rounds: samples of each operator in a session.
        sessions: sessions.
        known: samples from before; an operator's missing sessions are timed and no others.
        keep: called with all samples so far after each session of a batch.
        progress: wraps the sessions, to show them.
    """
    timer = timer or OnnxOperatorTimer()
    samples = {key: list(parts) for key, parts in (known or {}).items()}
    todo = [key for key in keys if len(samples.get(key, ())) < sessions]
    batches = split(todo)
    for turn in progress(range(len(batches) * sessions)):
        batch, session = batches[turn // sessions], turn % sessions
        missing = [key for key in batch if len(samples.get(key, ())) <= session]
        for key, timed in timer(missing, rounds, session).items():
            samples.setdefault(key, []).append(tuple(timed))
        if keep is not None:
            keep(_table(samples))
    return _table(samples)


def split(keys: Sequence[OpKey], batch_bytes: float = BATCH_BYTES) -> list[list[OpKey]]:
    """Operators in batches whose probes fit into so many bytes, in the order given."""
    batches: list[list[OpKey]] = []
    room = 0.0
    for key in keys:
        size = weight_bytes(key) * copies_of(key)
        if not batches or size > room:
            batches.append([])
            room = batch_bytes
        batches[-1].append(key)
        room -= size
    return batches


def _table(samples: Mapping[OpKey, Sequence[tuple[float, ...]]]) -> LatencyTable:
    return LatencyTable({key: tuple(parts) for key, parts in samples.items()})


def open_probes(
    models: Mapping[OpKey, tuple[onnx.ModelProto, Feeds]], threads: int, provider: Provider = CPU
) -> dict[OpKey, Callable[[], object]]:
    """A new onnxruntime session for each probe, as something to time; runs `copies_of` it."""
    return {
        key: _runner(provider.open(model.SerializeToString(), threads), feeds)
        for key, (model, feeds) in models.items()
    }


def _runner(session: onnxruntime.InferenceSession, feeds: Feeds) -> Callable[[], object]:
    values = {n: onnxruntime.OrtValue.ortvalue_from_numpy(v) for n, v in feeds.items()}
    return lambda: session.run_with_ort_values(None, values)
