"""Runs pages as a reader would: in a fresh interpreter, each page in an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hwsearch.denoisers.caching.folder import CACHE_VARIABLE
from tests.docs.blocks import ROOT, all_blocks

#: What makes runs short: variables that docs/reference/study-file.md tells of. No block is edited.
SHORT = {
    "HWSEARCH_QUESTIONS": "1",
    "HWSEARCH_SEARCH_TRIALS": "8",
    "HWSEARCH_SEARCH_PROBLEMS": "2",
    "HWSEARCH_EXPORT_LIMIT": "2",
    "HWSEARCH_VERIFY_LIMIT": "2",
    "HWSEARCH_EVALUATE_LIMIT": "2",
    "HWSEARCH_SINKS_LIMIT": "2",
    "HWSEARCH_BASELINES_LIMIT": "2",
    "HWSEARCH_BASELINES_ROUNDS": "1",
    "HWSEARCH_BENCH_LIMIT": "2",
    "HWSEARCH_BENCH_ROUNDS": "1",
    "HWSEARCH_PROFILE_ROUNDS": "1",
    "HWSEARCH_PROFILE_SESSIONS": "1",
}

BLOCKS = [block for block in all_blocks() if block.is_run]
PAGES_RUN = sorted({block.page for block in BLOCKS})


def run_from_top_to_bottom(pages, folder):
    """Run pages in one interpreter; every block of theirs must have run."""
    pytest.importorskip("matplotlib")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HWSEARCH_")}
    path = os.pathsep.join(filter(None, [str(ROOT), environment.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-m", "tests.docs.run_page", *pages],
        cwd=folder,
        env={
            **environment,
            **SHORT,
            "PYTHONPATH": path,
            CACHE_VARIABLE: os.environ[CACHE_VARIABLE],
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-8000:]
    ran = [line.split(" ")[1] for line in done.stdout.splitlines() if line.startswith("ran ")]
    assert ran == [str(block) for block in BLOCKS if block.page in pages]
