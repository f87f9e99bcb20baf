"""Run the blocks of pages as a reader would, in this fresh interpreter, each page in an empty folder.

    python -m tests.docs.run_page PAGE...

Python blocks share one namespace; lines of shell blocks go through the entry point of the console
script. Blocks that name a file become it. Classes of tests are run as pytest would.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import os
import sys
import time
from pathlib import Path

from tests.docs.blocks import ROOT, Block, blocks_of


def main(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    space: dict[str, object] = {"__name__": "page"}
    for block in blocks_of(text, page):
        began = time.perf_counter()
        if block.file:
            path = Path(block.file)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        if not block.is_run:
            continue
        run_python(block, space) if block.language == "python" else run_shell(block)
        print(f"ran {block} in {time.perf_counter() - began:.1f} s", flush=True)


def run_python(block: Block, space: dict[str, object]) -> None:
    """Execute a block; its lines keep their numbers in a traceback."""
    source = "\n" * block.line + block.text
    before = set(space)
    linecache.cache[str(block)] = (len(source), None, source.splitlines(True), str(block))
    exec(compile(source, str(block), "exec", dont_inherit=True), space)
    for name in set(space) - before:
        if name.startswith("Test") and isinstance(space[name], type):
            tests = space[name]()
            for test in (test for test in dir(tests) if test.startswith("test_")):
                getattr(tests, test)()


def run_shell(block: Block) -> None:
    """Every line must exit with 0, but for `verify` on a machine too busy to repeat a time."""
    for words in block.commands():
        assert words[0] == "hwsearch", f"{block}: only hwsearch is run; mark {words[0]} as not run"
        code, printed = call(words)
        if words[1] == "verify" and code == 1:
            failed = [line for line in printed.splitlines() if " NO " in line]
            assert failed and all("latency" in line for line in failed), f"{block}: {printed}"
        else:
            assert code == 0, f"{block}: {' '.join(words)} exits with {code}: {printed}"


def call(words: list[str]) -> tuple[int, str]:
    """Exit code and output of a command line, by the entry point of the console script."""
    from hwsearch.cli.main import main as entry

    out = io.StringIO()
    sys.argv = words
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            entry()
        except SystemExit as stop:
            code = stop.code
            return (code if isinstance(code, int) else 0 if code is None else 1), out.getvalue()
    return 0, out.getvalue()


if __name__ == "__main__":
    here = Path.cwd()
    for number, name in enumerate(sys.argv[1:]):
        folder = here / f"page-{number}"
        folder.mkdir()
        os.chdir(folder)
        main(name)
