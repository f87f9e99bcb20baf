"""Trials a minute with one, two and four workers on one PostgreSQL.

    python studies/search-efficiency/workers.py [--workers 1,2,4] [--trials 60] [--storage URL]

Without --storage it starts a server of its own (Debian: apt install postgresql). Every worker is a
process with one thread on gsm-mini; more workers than idle cores gain nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
import uuid
from contextlib import nullcontext

import torch
from gsm_mini import make_objective

from hwsearch.study.records.study import load_study
from hwsearch.study.run import run_study
from hwsearch.study.storage.databases import open_storage
from hwsearch.testing.postgres import find_postgres, postgres_server

QUESTIONS = 2


def measure(url: str, workers: int, trials: int) -> tuple[float, int]:
    """Seconds that the workers need together, and the finished trials."""
    torch.set_num_threads(1)
    objective, name = make_objective(QUESTIONS), f"throughput-{uuid.uuid4().hex[:8]}"

    def work() -> None:
        run_study(objective, trials=trials, name=name, storage=url)

    fork = multiprocessing.get_context("fork")
    crew = [fork.Process(target=work) for _ in range(workers)]
    start = time.perf_counter()
    for worker in crew:
        worker.start()
    for worker in crew:
        worker.join()
    return time.perf_counter() - start, len(load_study(name, url).frame())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", default="1,2,4")
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--storage", help="URL of a PostgreSQL database")
    args = parser.parse_args()
    programs = find_postgres()
    if args.storage is None and programs is None:
        parser.error("no PostgreSQL server here; install one or give --storage")
    with nullcontext(args.storage) if args.storage else postgres_server(programs) as url:
        open_storage(url)
        for workers in map(int, args.workers.split(",")):
            seconds, done = measure(url, workers, args.trials)
            print(
                f"{workers} workers: {done} trials in {seconds:.1f} s, {60 * done / seconds:.0f} a minute"
            )


if __name__ == "__main__":
    main()
