"""Seconds from the command to a search's first trial: on a model that is new, and on one that was searched.

    python studies/first-trial/run.py [--model gsm-mini]

Two searches on device `cpu` with a cache and a database of their own, each in a process of its own, the
import of torch included. Prints a line for each, and the machine's instruction set.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

from hwsearch.denoisers.caching.folder import CACHE_VARIABLE
from hwsearch.latency.devices.environment import this_machine

SEARCH = """
import sys, time
began = time.perf_counter()
import hwsearch.study.run as run
from hwsearch.study.searching import run_spec
from hwsearch.study.settings import StudySpec

def first(*rest, **named):
    print(f"{time.perf_counter() - began:.1f}")
    sys.exit()

run.run_trials = first
model, storage = sys.argv[1:]
run_spec(StudySpec(model=model, device="cpu", target_ratio=0.2, storage=storage))
"""


def main() -> None:
    """Print both times."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="gsm-mini")
    model = parser.parse_args().model
    print(this_machine())
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {CACHE_VARIABLE: f"{folder}/cache"}
        for name in ("first", "second"):
            done = subprocess.run(
                [sys.executable, "-c", SEARCH, model, f"{folder}/{name}.db"],
                env=environment,
                capture_output=True,
                text=True,
                check=True,
            )
            print(f"{name} search of {model}: {done.stdout.split()[-1]} s before its first trial")


if __name__ == "__main__":
    main()
