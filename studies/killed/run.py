"""Kill an export and a search at random moments, and see that the next run ends as if unharmed.

    python studies/killed/run.py [--kills 20] [--seed 0] [--what export,search]

Each is first run undisturbed, which says what shall come out and how long it takes. Then it is begun,
killed (SIGKILL) at a moment drawn uniformly from that time, start-up included, and begun again right
there. A run that ends before its moment is compared, and the next one begins from nothing, until
as many runs were killed as shall be; the last one is left alone.

What is compared. Of an export: every file of the bundle byte by byte, and that nothing lies beside it. A
search that goes on after a kill draws from another seed than one that was never killed, so the order
of its plans may differ, and with it which of many plans a short search tries. This one therefore has
as many trials as its space has plans: whatever the order, the same plans must have been tried, each once,
with the same losses, and the best must be the same. Losses agree to float32's rounding: how many
states are computed together, and in which order, may differ.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from optuna.trial import TrialState

from hwsearch.study import Study, load_study
from tests.bundle import test_killed as killed_export

RESULTS = Path(__file__).parent / "results.csv"

#: 3 formats of attention, mlp and head, and 2 thresholds, alike in all layers: a plan a trial.
TRIALS = 54
SEARCH = (
    "search", "--model", "gsm-mini", "--device", "cpu", "--target-ratio", "0.95", "--limit", "2",
    "--groups", "tied", "--formats", "fp32,w8,w4", "--thresholds", "1.0,0.5",
    "--trials", str(TRIALS), "--name", "killed",
)  # fmt: skip
CALL = "from hwsearch.cli.main import main; main()"


@dataclass(frozen=True)
class Job:
    """Something that is killed.

    Attributes:
        command: its command, given a folder to write to.
        state: what a folder shows of it, in words.
        check: raises AssertionError unless the second folder holds what the first does.
    """

    command: Callable[[Path], list[str]]
    state: Callable[[Path], str]
    check: Callable[[Path, Path], None]


def export_command(folder: Path) -> list[str]:
    return [sys.executable, "-c", killed_export.SCRIPT, str(folder / "bundle")]


def export_state(folder: Path) -> str:
    if not folder.exists():
        return "nothing written"
    names = sorted(path.name for path in folder.iterdir())
    half = any(name != "bundle" for name in names)
    return ("half of a bundle beside it" if half else "") or (
        "a bundle" if names else "nothing written"
    )


def check_export(whole: Path, folder: Path) -> None:
    assert [path.name for path in folder.iterdir()] == ["bundle"], "nothing is left beside it"
    assert killed_export.files(folder / "bundle") == killed_export.files(whole / "bundle")


def search_command(folder: Path) -> list[str]:
    (folder / "makers.json").write_text("{}")
    files = ("--decoding", str(folder / "makers.json"), "--storage", str(folder / "s.db"))
    return [sys.executable, "-c", CALL, *SEARCH, *files]


def search_state(folder: Path) -> str:
    try:
        with sqlite3.connect(folder / "s.db") as connection:
            done = connection.execute("SELECT count(*) FROM trials WHERE state = 'COMPLETE'")
            return f"{done.fetchone()[0]} trials finished"
    except sqlite3.OperationalError:  # no table yet
        return "no study"


def check_search(whole: Path, folder: Path) -> None:
    assert sqlite3.connect(folder / "s.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)
    before, after = (load_study("killed", str(place / "s.db")) for place in (whole, folder))
    check_trials(after)
    theirs, ours = losses(before), losses(after)
    assert ours.keys() == theirs.keys(), "no plan was lost"
    assert all(np.isclose(ours[plan], theirs[plan], rtol=1e-4, atol=1e-9) for plan in theirs)
    best, found = (study.feasible().iloc[0] for study in (before, after))
    assert found["plan"] == best["plan"]
    assert np.isclose(found["loss"], best["loss"], rtol=1e-4, atol=1e-9)


def check_trials(study: Study) -> None:
    """As many as asked for, each plan once, and nothing left over."""
    frame, states = study.frame(), [trial.state for trial in study.optuna.get_trials()]
    assert len(frame) == frame["plan"].nunique() == TRIALS
    assert not {TrialState.RUNNING, TrialState.WAITING} & set(states)


def losses(study: Study) -> dict[object, float]:
    frame = study.frame()
    return dict(zip(frame["plan"], frame["loss"], strict=True))


JOBS = {
    "export": Job(export_command, export_state, check_export),
    "search": Job(search_command, search_state, check_search),
}


def finish(job: Job, folder: Path) -> float:
    """Run a job to its end, and return its seconds."""
    folder.mkdir(exist_ok=True)
    began = time.monotonic()
    done = subprocess.run(job.command(folder), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return time.monotonic() - began


def killed(job: Job, folder: Path, moment_s: float) -> bool:
    """Begin a job, and kill it at a moment; whether it was still at it."""
    folder.mkdir(exist_ok=True)
    process = subprocess.Popen(
        job.command(folder), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        process.wait(moment_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return True
    assert process.returncode == 0, process.communicate()[1].decode()
    return False


def measure(name: str, kills: int, seed: int, home: Path) -> Iterator[dict[str, object]]:
    """Rows of the results: one a run, killed or not."""
    job, draw = JOBS[name], random.Random(seed)
    whole = home / f"{name}-whole"
    seconds = finish(job, whole)
    yield {"job": name, "kill": "", "moment_s": f"{seconds:.1f}", "left": "undisturbed"}
    done, rounds = 0, 0
    folder = home / f"{name}-{rounds}"
    while done < kills:
        moment = draw.uniform(0, seconds)
        if killed(job, folder, moment):
            done += 1
            left = job.state(folder)
            yield {"job": name, "kill": done, "moment_s": f"{moment:.1f}", "left": left}
            continue
        job.check(whole, folder)
        yield {"job": name, "kill": "", "moment_s": "", "left": "ended by itself: the same"}
        rounds += 1
        folder = home / f"{name}-{rounds}"
    seconds = finish(job, folder)
    job.check(whole, folder)
    yield {"job": name, "kill": "", "moment_s": f"{seconds:.1f}", "left": "left alone: the same"}


def others(jobs: Sequence[str]) -> list[dict[str, str]]:
    """Rows of what is not run now."""
    if not RESULTS.exists():
        return []
    with RESULTS.open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["job"] not in jobs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20, help="of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--what", default="export,search")
    options = parser.parse_args()
    home, jobs = Path(tempfile.mkdtemp()), options.what.split(",")
    kept = others(jobs)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["job", "kill", "moment_s", "left"])
        writer.writeheader()
        writer.writerows(kept)
        for name in jobs:
            for row in measure(name, options.kills, options.seed, home):
                writer.writerow(row)
                print(*row.values(), flush=True)
    shutil.rmtree(home)


if __name__ == "__main__":
    main()
