"""`hwsearch verify`: is a bundle what it says it is?"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hwsearch.cli.help import Verb
from hwsearch.cli.options import (
    TASK_OPTIONS,
    given,
    json_option,
    scored_option,
    task_options,
    threads_option,
)
from hwsearch.cli.output import print_json
from hwsearch.cli.printing import print_table, progress_bar

if TYPE_CHECKING:
    from hwsearch.jobs.bundle_checks import Check


@click.command(name="verify", cls=Verb)
@click.argument("bundle", type=click.Path(path_type=Path))
@scored_option(200, least=0)  # 0 checks all but accuracy
@threads_option
@task_options("limit", "num_shots", "apply_chat_template")
@json_option
def command(bundle: Path, limit: int, threads: int, as_json: bool, **flags: Any) -> None:
    """Check BUNDLE: checksums, predictions, plain sessions, accuracy, latency.

    Predictions are compared with those of the simulated model on passes that were frozen at the
    export, against the noise floor of rounding. Exit code 1 where a check that decides fails.

    The accuracy is that on the task of the export; say where its problems are if they have moved.
    """
    from hwsearch.jobs.verification import verify

    with progress_bar():
        checks = verify(bundle, limit=limit, threads=threads, **given(flags, TASK_OPTIONS))
    if as_json:
        print_json([check.document() for check in checks])
    else:
        rows = [(c.name, _verdict(c), c.found, c.rule) for c in checks]
        print_table(f"verify {bundle}", ["check", "passed", "found", "rule"], rows)
    if not all(check.passed for check in checks if check.decides):
        sys.exit(1)


def _verdict(check: Check) -> str:
    if not check.decides:
        return "-"
    return "yes" if check.passed else "NO"
