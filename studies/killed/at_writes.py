"""End jobs at their writes, and see that the next run ends as if unharmed.

    python studies/killed/at_writes.py [--what export,search]

Each job is done once undisturbed, on a tiny model, which counts its writes: files that are opened, made,
renamed and removed, and statements to a database. Then it is begun anew for each row of the results, ended
right before one of its writes, and begun again right there. `kill` is SIGKILL; of a `torn` write half
is on the disk as SIGKILL comes; `interrupt` is Ctrl-C, and `terminate` SIGTERM. ``over`` is a job that takes
the place of an older result.

What is compared, or an AssertionError ends this: the exit code and what is said on standard error; what is in
its place after the end, which is the older result, nothing, or all of the new one; the result of the
next run, and the files it leaves, with those of the undisturbed one. A search has as many trials as its space
has plans, so the same plans must have been tried, each once, with the same losses to float32's rounding, and
none may be left running or waiting.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path

import torch

from tests.jobs.ended_jobs import JOBS, Endings

RESULTS = Path(__file__).parent / "at_writes.csv"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--what", default=",".join(JOBS))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    if RESULTS.exists():
        with RESULTS.open(newline="") as file:
            others = [
                row for row in csv.DictReader(file) if row["job"] not in options.what.split(",")
            ]
            rows.extend(others)
    for name in options.what.split(","):
        with tempfile.TemporaryDirectory() as folder:
            job = Endings(name, Path(folder) / "home")
            for end in JOBS[name].ends:
                for at in job.points(end):
                    rows.append(job.end_at(at, end))
                    print(*rows[-1].values(), flush=True)
    with RESULTS.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
