"""Jobs that are ended at any of their writes, and begun again: what each does, and what must come out."""

import dataclasses
import json
import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from optuna.trial import TrialState

from hwsearch.bundle import write_bundle
from hwsearch.cli.printing import quiet_optuna
from hwsearch.compression import compress
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.caching.folder import CACHE_VARIABLE
from hwsearch.jobs import baselines
from hwsearch.jobs.baselines import RowSelection, Settings, read_rows, run_baselines
from hwsearch.jobs.profiling.effort import Effort
from hwsearch.jobs.profiling.onnxruntime import MachineProfiler
from hwsearch.jobs.sinks import study_sinks
from hwsearch.latency.devices.device import load_device
from hwsearch.latency.operators import OpKey
from hwsearch.plan import CompressionPlan, Decoding
from hwsearch.study import Goal, SearchSpace, load_study, run
from hwsearch.study.sensitivities import measure_sensitivities
from hwsearch.testing.timers import FormulaTimers
from hwsearch.testing.tiny import tiny_denoiser
from tests.killing import ended_at_write, told_by_child, writes_of
from tests.study.test_run import make_objective

#: Exit codes, and the one line that is said.
CODES = {"kill": -9, "torn": -9, "interrupt": 130, "terminate": 143}
SAID = {"kill": "", "torn": "", "interrupt": "interrupted\n", "terminate": "ended by a signal\n"}


@dataclasses.dataclass(frozen=True)
class Job:
    """Something that is ended.

    Attributes:
        act: does it, writing into a folder.
        result: what came out, to be compared; None where nothing is in its place.
        ends: how many of its writes it is ended at, by how.
        older: writes what the job takes the place of.
        half: whether it may be in its place by halves, as a search is, which is gone on with.
    """

    act: Callable[[Path], object]
    result: Callable[[Path], Any]
    ends: dict[str, int]
    older: Callable[[Path], object] | None = None
    half: bool = False


def do(act, folder):
    """Do something whose caches are kept in its folder."""
    with mock.patch.dict(os.environ, {CACHE_VARIABLE: str(folder / "cache")}):
        act(folder)


def files_in(folder):
    """Names of all files below a folder; not of what belongs to a database beside it: locks and its log."""
    files = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    return {name for name in files if not name.endswith((".lock", "-wal", "-shm"))}


def export(folder, weights="w8"):
    compressed = compress(tiny_denoiser(), CompressionPlan.uniform(2, "w8a8", weights, head="w8"))
    kept, place = KeptShares((0.5, 1.0)), folder / "bundle"
    write_bundle(compressed, kept, place, questions=["tom has 3 apples ?"], overwrite=True)


def bundle(folder):
    if not (folder / "bundle").exists():
        return None
    found = {path.name: path.read_bytes() for path in (folder / "bundle").iterdir()}
    found["reference.npz"] = b""  # a zip file, which keeps the time
    return found


OPERATORS = tuple(OpKey("linear", rows, 64, 64, format="fp32") for rows in (1, 2))
EFFORT = Effort(threads=1, rounds=2, sessions=2, mixed_plans=12)


def profile(folder, scale=1.0):
    timers = FormulaTimers(scale=scale)
    profiler = MachineProfiler("box", folder, EFFORT, timers=timers, overwrite=scale == 2.0)
    profiler.time_operators(OPERATORS)


def table(folder):
    return load_device(folder / "box").table.samples if (folder / "box").exists() else None


def sinks(folder):
    study_sinks(tiny_denoiser(), folder / "out", questions=["tom has 3 apples ?"], k=2)


def shown_sinks(folder):
    """What the page and its pictures show, each file whole: they appear one after the other."""
    out = folder / "out"
    for path in out.glob("*.png"):
        assert path.read_bytes().endswith(b"IEND\xaeB`\x82"), f"{path.name} is whole"
    if (out / "sinks.html").exists():
        assert (out / "sinks.html").read_text().rstrip().endswith("</html>")
    return json.loads((out / "sinks.json").read_text()) if (out / "sinks.json").exists() else None


DECODING = Decoding(gen_length=8, block_length=4, steps=4, refresh_interval=2)
ROWS = RowSelection(families=("cache",), methods=("recent",), shares=(0.5,), sweep=(0.2,))


def prune(folder):
    denoiser = dataclasses.replace(tiny_denoiser(), decoding=DECODING)
    load = mock.patch.object(baselines.ModelOptions, "load", lambda options, name: denoiser)
    speeds = mock.patch.object(baselines.Bench, "speeds", lambda bench, jobs, rounds: {"none": 1.0})
    with load, speeds:
        run_baselines(Settings("tiny", limit=2, calibration=2), folder / "out", ROWS, rounds=1)


def pruned(folder):
    path = folder / "out" / "baselines.csv"
    return (read_rows(folder / "out"), path.read_text()) if path.exists() else None


#: As many as there are plans: in whatever order they are proposed, all have been tried in the end.
TRIALS = 8


class Losses(dict):
    """Losses by plan, which are equal up to float32's rounding: what is computed together may differ."""

    def __eq__(self, other):
        return other is not None and dict(other) == pytest.approx(dict(self), rel=1e-4, abs=1e-7)

    __hash__ = None


#: What the first search here estimated; processes that are forked later inherit it.
ESTIMATED = []


def estimated(*args, **kwargs):
    """Estimates as a search makes them, once: torch with CUDA refuses autograd in a forked process."""
    if not ESTIMATED:
        ESTIMATED.append(measure_sensitivities(*args, **kwargs))
    return ESTIMATED[0]


def search(folder):
    quiet_optuna()
    objective = make_objective(Goal(target_ratio=1.2))
    space = SearchSpace(num_layers=2, formats=("fp32", "w8"), thresholds=(1.0,), groups="tied")
    assert space.size == TRIALS
    objective = dataclasses.replace(objective, space=space)
    with mock.patch.object(run, "measure_sensitivities", estimated):
        run.run_study(objective, trials=TRIALS, name="s", storage=str(folder / "s.db"))


def trials(folder):
    """The loss of every finished plan, of which there is one trial each; None where no study is."""
    path = folder / "s.db"
    if not path.exists():
        return None
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'trials'").fetchone():
            return None
        states = connection.execute("SELECT state FROM trials").fetchall()
    if ("COMPLETE",) not in states:
        return None
    study = load_study("s", str(path))
    frame = study.frame()
    assert len(frame) == frame["plan"].nunique()
    left = {TrialState.RUNNING, TrialState.WAITING} & {t.state for t in study.optuna.get_trials()}
    assert not left or len(frame) < TRIALS, "no trial is left over"
    return Losses(zip(map(str, frame["plan"]), frame["loss"], strict=True))


JOBS = {
    "export": Job(export, bundle, {"kill": 4, "torn": 3, "interrupt": 2, "terminate": 2}),
    "export over": Job(
        export, bundle, {"kill": 3, "interrupt": 2}, older=lambda folder: export(folder, "w4")
    ),
    "profile": Job(profile, table, {"kill": 4, "torn": 3, "interrupt": 2, "terminate": 2}),
    "profile over": Job(
        lambda folder: profile(folder, 2.0), table, {"kill": 4, "terminate": 2}, older=profile
    ),
    "sinks": Job(sinks, shown_sinks, {"kill": 3, "torn": 2, "interrupt": 2, "terminate": 2}),
    "baselines": Job(prune, pruned, {"kill": 3, "torn": 2, "interrupt": 1, "terminate": 1}),
    "search": Job(
        search, trials, {"kill": 7, "torn": 2, "interrupt": 3, "terminate": 3}, half=True
    ),
}  # fmt: skip


class Endings:
    """A job, done once undisturbed, which counts its writes; then ended at some, and begun again.

    Args:
        name: of `JOBS`.
        home: an empty folder for it.
    """

    def __init__(self, name, home):
        self.name, self.home, self.job = name, home, JOBS[name]
        self.before, self.whole = home / "before", home / "whole"
        self.before.mkdir(parents=True)
        do(self.job.act, self._fresh("warm"))  # imports what each later process then has
        if self.job.older is not None:
            do(self.job.older, self.before)
        folder = self._fresh("whole")
        self.writes = writes_of(lambda: do(self.job.act, folder), folder)
        self.older, self.expected = self._result(self.before), self._result(self.whole)
        assert self.expected is not None and self.expected != self.older

    def _result(self, folder):
        return told_by_child(lambda: self.job.result(folder))

    def _fresh(self, name):
        return Path(shutil.copytree(self.before, self.home / name))

    def points(self, end):
        """Numbers of the writes that it is ended at in a way: from first to last, and before each move."""
        count, wanted = len(self.writes), self.job.ends.get(end, 0)
        could = [n for n in range(count) if end != "torn" or self.writes[n].event == "open"]
        last = max(1, wanted - 1)
        moves = [n for n in range(count) if self.writes[n].event == "os.rename" and self.job.older]
        spread = {could[round(n * (len(could) - 1) / last)] for n in range(wanted)}
        return sorted(spread | {*(moves if end == "kill" else ())})

    def end_at(self, at, end):
        """End it at a write, begin it again, and see that all is as if unharmed; what happened, in words."""
        folder = self._fresh(f"{end}-{at}")
        write, said = self.writes[at], self.home / "said"
        code, text = ended_at_write(lambda: do(self.job.act, folder), folder, at, end, said)
        where = f"{self.name}, {end} at write {at} of {len(self.writes)}, {write}: {code} {text}"
        assert (code, text) == (CODES[end], SAID[end]), where
        found = self._result(folder)
        assert self.job.half or found in (None, self.older, self.expected), where
        code, text = ended_at_write(lambda: do(self.job.act, folder), folder, -1, end, said)
        assert code == 0, f"{where}; then: {text}"
        found = self._result(folder)
        assert found == self.expected, f"{where}: {found}, not {self.expected}"
        left = files_in(folder) ^ files_in(self.whole)
        assert not left, f"{where}: {left}"
        shutil.rmtree(folder)
        return {
            "job": self.name,
            "end": end,
            "write": at + 1,
            "of": len(self.writes),
            "before": f"{write.event} {re.sub(r'[-.][a-z0-9_]{8}(?=/|$)', '', write.path)}",
            "exit": CODES[end],
            "next": "the same",
        }
