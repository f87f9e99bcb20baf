"""Operators and whole models, timed in the same rounds; sessions are kept as they are finished."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.latency.devices.table import LatencyTable
from hwsearch.latency.operators import OpKey, Workload
from hwsearch.latency.timing.bundles import backend_runs
from hwsearch.latency.timing.clock import interleave
from hwsearch.latency.timing.operator_graphs import build_probe, copies_of
from hwsearch.latency.timing.operator_times import open_probes
from hwsearch.latency.timing.pinning import pinned
from hwsearch.progress import shown
from hwsearch.runtime import Bundle, OnnxBackend

COLUMNS = ["what", "pass", "session", "sample_us"]

#: Measured times in milliseconds: plan, then refresh, step and generation.
Measured = dict[int, tuple[float, float, float]]


class Sampler:
    """What is timed: every operator, and every plan's refresh, step and generation."""

    def __init__(
        self,
        denoiser: Denoiser,
        workload: Workload,
        keys: Sequence[OpKey],
        bundles: Mapping[str, Bundle],
        threads: int,
    ) -> None:
        self.denoiser, self.workload, self.bundles = denoiser, workload, bundles
        self.probes = {key: build_probe(key) for key in keys}
        self.threads = threads

    def run(self, path: Path, sessions: int, rounds: int) -> None:
        """Time the sessions that `path` does not hold yet."""
        done = int(pd.read_csv(path)["session"].max()) + 1 if path.exists() else 0
        for session in range(done, sessions):
            with pinned(self.threads):
                show = shown(f"session {session + 1} of {sessions}")
                samples = interleave(self.runs(), rounds, seed=session, progress=show)
            copies = {repr(key): copies_of(key) for key in self.probes}
            keep(path, session, samples, copies)

    def runs(self) -> dict[tuple[str, int], Callable[[], object]]:
        """Sessions of onnxruntime opened anew; operators have pass -1."""
        backends = {
            name: OnnxBackend(bundle, self.threads) for name, bundle in self.bundles.items()
        }
        mask, size = self.denoiser.mask_token_id, self.denoiser.geometry.vocab_size
        models = backend_runs(backends, self.workload, mask, vocab_size=size)
        probes = open_probes(self.probes, self.threads)
        return {(repr(key), -1): run for key, run in probes.items()} | models


def keep(
    path: Path,
    session: int,
    samples: Mapping[tuple[str, int], list[float]],
    copies: Mapping[str, int],
) -> None:
    """Append a session: the old rows and the new ones in a new file, which takes the old one's name."""
    rows = [
        (what, part, session, us / copies.get(what, 1))
        for (what, part), timed in samples.items()
        for us in timed
    ]
    frame = pd.DataFrame(rows, columns=COLUMNS)
    if path.exists():
        frame = pd.concat([pd.read_csv(path), frame])
    fresh = path.with_suffix(".part")
    frame.to_csv(fresh, index=False)
    fresh.rename(path)


def read_sessions(
    path: Path, sessions: int, keys: Sequence[OpKey]
) -> tuple[LatencyTable, Measured]:
    """The operators as a table, and the median times of every plan.

    Within a session all runs take turns, so ratios hold; how fast the machine was changes from one
    session to the next, so each is scaled to what the sessions have in common.
    """
    frame = pd.read_csv(path)
    frame = frame[frame["session"] < sessions]
    frame["sample_us"] /= pace(frame)
    named = {repr(key): key for key in keys}
    operators, models = frame[frame["pass"] < 0], frame[frame["pass"] >= 0]
    samples = {
        named[str(what)]: tuple(tuple(part["sample_us"]) for _, part in rows.groupby("session"))
        for what, rows in operators.groupby("what")
    }
    medians = models.groupby(["what", "pass", "session"])["sample_us"].median()
    table = medians.groupby(["what", "pass"]).median().unstack() / 1e3
    measured = {int(what): (row[0], row[1], row[2]) for what, row in table.iterrows()}
    return LatencyTable(samples, str(path)), measured


def pace(frame: pd.DataFrame) -> pd.Series:
    """For each sample how slow its session was with runs of its kind, against all sessions."""
    logs = np.log(frame.groupby(["what", "pass", "session"])["sample_us"].median())
    slow = (logs - logs.groupby(["what", "pass"]).transform("mean")).groupby(["pass", "session"])
    keys = pd.MultiIndex.from_frame(frame[["pass", "session"]])
    return pd.Series(np.exp(slow.mean().reindex(keys).to_numpy()), index=frame.index)
