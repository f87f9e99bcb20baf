"""Node, and the packages of npm that some of its scripts need; tests are skipped where they are missing."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
#: Names the folder of npm's packages; `make test-web` makes one.
MODULES = "HWSEARCH_NODE_MODULES"


def node():
    """The executable."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("node is not installed; make test-web needs Node 20.19 or later")
    return found


def with_modules(folder):
    """A folder of scripts, given npm's packages."""
    modules = os.environ.get(MODULES)
    if not modules:
        pytest.skip(f"{MODULES} names no folder of npm's packages; make test-web does")
    (folder / "node_modules").symlink_to(Path(modules).resolve(), target_is_directory=True)
    return folder


def run(*words, stdin="", code=0, cwd=None):
    """What a script of Node prints; and on standard error."""
    done = subprocess.run(
        [node(), *map(str, words)],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )
    assert done.returncode == code, done.stderr
    return done.stdout, done.stderr


def answers(kind, cases):
    """What the JavaScript makes of cases of one kind; see twin.mjs."""
    return json.loads(run(HERE / "twin.mjs", kind, stdin=json.dumps(cases))[0])
