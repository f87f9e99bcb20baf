"""`hwsearch verify`: is a bundle what it says it is?"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from hwsearch.cli.options import json_option, print_json, print_table


@click.command(name="verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--limit", default=200, show_default=True, help="Test problems to score.")
@click.option("--threads", default=1, show_default=True, help="Threads of onnxruntime.")
@json_option
def command(bundle: Path, limit: int, threads: int, as_json: bool) -> None:
    """Check BUNDLE: checksums, agreement with torch, accuracy, predicted and measured latency."""
    from hwsearch.jobs.bundles import verify

    checks = verify(bundle, limit=limit, threads=threads)
    if as_json:
        print_json([check.document() for check in checks])
    else:
        rows = [(c.name, "yes" if c.passed else "NO", c.found, c.rule) for c in checks]
        print_table(f"verify {bundle}", ["check", "passed", "found", "rule"], rows)
    if not all(check.passed for check in checks):
        sys.exit(1)
