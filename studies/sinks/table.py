"""The baseline table of gsm-mini: every method, two processes side by side.

    python studies/sinks/table.py

writes rows, table, CSV and picture to studies/sinks/baselines/. A run that was cut off goes on.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from hwsearch.jobs.baselines import write_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="gsm-mini")
    parser.add_argument("--limit", type=int, default=500, help="test problems a row")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "baselines")
    options, more = parser.parse_known_args()
    command = [sys.executable, "-m", "hwsearch.cli.main", "baselines", options.model]
    command += ["-o", str(options.out), "--limit", str(options.limit)]
    command += ["--families", "cache,structured,unstructured,2:4", *more]
    # one thread each: small matrices gain nothing from a second
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    parts = [
        subprocess.Popen([*command, "--part", f"{part}/{options.processes}"], env=environment)
        for part in range(1, options.processes + 1)
    ]
    failed = [part.args for part in parts if part.wait()]
    if failed:
        sys.exit(f"failed: {failed}")
    write_table(options.out)
    print((options.out / "baselines.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
