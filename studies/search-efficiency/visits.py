"""Which plans each sampler visited, run once and kept in a file."""

from __future__ import annotations

import csv
import time
from itertools import islice
from pathlib import Path

from race import Plan, Problem, visit


class Visits:
    """Runs of samplers on one problem, looked up before they are run.

    Args:
        path: CSV of sampler, seed and plans (digits, separated by blanks); None keeps nothing.
        minutes: no further run is begun after so long.
    """

    def __init__(self, path: Path | None, minutes: float) -> None:
        self.path = path
        self._stop = time.monotonic() + 60 * minutes
        self._known: dict[tuple[str, int], list[Plan]] = {}
        if path is not None and path.exists():
            with path.open(newline="") as file:
                for name, seed, plans in csv.reader(file):
                    self._known[name, int(seed)] = [tuple(map(int, p)) for p in plans.split()]

    def runs(self, problem: Problem, name: str, seeds: int, trials: int) -> list[list[Plan]]:
        """The first `trials` plans of each seed; seeds there was no time for are left out."""
        found = [self._run(problem, name, seed, trials) for seed in range(seeds)]
        return [run[:trials] for run in found if run is not None]

    def _run(self, problem: Problem, name: str, seed: int, trials: int) -> list[Plan] | None:
        known = self._known.get((name, seed))
        if known is not None and len(known) >= trials:
            return known
        if time.monotonic() > self._stop:
            return known
        run = list(islice(visit(problem, name, seed), trials))
        self._known[name, seed] = run
        if self.path is not None:
            self._write(self.path)
        return run

    def _write(self, path: Path) -> None:
        part = path.with_suffix(".part")
        with part.open("w", newline="") as file:
            writer = csv.writer(file)
            for (name, seed), plans in sorted(self._known.items()):
                writer.writerow([name, seed, " ".join("".join(map(str, p)) for p in plans)])
        part.replace(path)
