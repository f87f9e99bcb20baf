"""Work that is killed at any moment, as tests of several rooms do it.

`killed_at_random` ends a process at moments drawn by chance. `ended_at_write` ends a process at a given
write: it listens to what Python tells its auditors (`sys.addaudithook`) of files that are opened for writing,
made, renamed and removed below a folder, and to statements that SQLite is given. So every place where
something half-written could be left is met, on a fast machine and on a slow one.
"""

from __future__ import annotations

import faulthandler
import multiprocessing
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

from hwsearch.cli.main import reported
from hwsearch.study.storage import sqlite

FORK = multiprocessing.get_context("fork")

#: Audit events that change files; their first arguments are paths.
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.truncate")

#: Statements that change a database.
SQL = ("INSERT", "UPDATE", "DELETE", "CREATE")

#: How a process ends; of a torn write half is on the disk as the process is killed.
ENDS = {
    "kill": signal.SIGKILL,
    "torn": signal.SIGKILL,
    "interrupt": signal.SIGINT,
    "terminate": signal.SIGTERM,
}

#: Seconds after which a process that hangs shows where, and leaves.
HANGS_S = 120


def killed_at_random(begin, seconds, times=3):
    """Begin a process so often, each time killed at a moment within some seconds; a turn after each.

    Args:
        begin: begins it; a `subprocess.Popen`, or a `multiprocessing.Process`.
        seconds: what it takes undisturbed.
    """
    draw = random.Random(0)
    for _ in range(times):
        process = begin()
        time.sleep(draw.uniform(0, seconds))
        process.kill()
        process.communicate() if hasattr(process, "communicate") else process.join()
        yield


def in_child(act):
    """Do something in a process of its own; its exit code, negative for a signal."""
    process = FORK.Process(target=act)
    process.start()
    process.join()
    return process.exitcode


class Write(NamedTuple):
    """A write: the event, and the path that is changed."""

    event: str
    path: str


class Writes:
    """Hears all writes below a folder in this process, for good, and ends it at one of them.

    Args:
        folder: other files are not looked at.
        at: number of the write before which the process ends.
        end: how, of `ENDS`.
    """

    def __init__(self, folder, at=-1, end="kill"):
        self.folder, self.at, self.end = str(folder), at, end
        self.heard = []
        sys.addaudithook(self.hear)
        self._hear_sql()

    def hear(self, event, arguments):
        """An auditor."""
        path = self._changed(event, arguments)
        if path is None:
            return
        self.heard.append(Write(event, path.removeprefix(self.folder)))
        if len(self.heard) == self.at + 1:
            self._go_wrong(event, *arguments)

    def _hear_sql(self):
        execute, commit = sqlite.PatientCursor.execute, sqlite.PatientConnection.commit

        def heard_execute(cursor, *arguments):
            if arguments[0].lstrip().upper().startswith(SQL):
                self.hear("sql", (f"{self.folder}/{' '.join(arguments[0].split()[:3])}",))
            return execute(cursor, *arguments)

        def heard_commit(connection):
            self.hear("sql", (f"{self.folder}/COMMIT",))
            commit(connection)

        sqlite.PatientCursor.execute = heard_execute
        sqlite.PatientConnection.commit = heard_commit

    def _changed(self, event, arguments):
        """What is changed; None where that is nothing, or elsewhere."""
        if event == "sql":
            return arguments[0]
        if event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR):
            return None
        if event not in ("open", *CHANGES) or isinstance(arguments[0], int):
            return None
        path = os.path.abspath(os.fsdecode(arguments[0]))  # noqa: PTH100 - a Path would be slow here
        return path if path.startswith(self.folder) else None

    def _go_wrong(self, event, path, *rest):
        if self.end == "torn" and event == "open":
            kept = Path(path).read_bytes() if Path(path).exists() and rest[1] & os.O_APPEND else b""
            Path(path).write_bytes(kept + b'{"half')
        os.kill(os.getpid(), ENDS[self.end])


def told_by_child(act):
    """What something returns, done in a process of its own; a database that it opens is not open here.

    SQLite may not be carried into another process: one that is begun later would take locks for held.
    """
    ours, theirs = FORK.Pipe(duplex=False)

    def main():
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
        theirs.send(act())

    process = FORK.Process(target=main)
    process.start()
    theirs.close()
    told = ours.recv()
    process.join()
    return told


def writes_of(act, folder):
    """The writes below a folder that something takes, done in a process of its own."""

    def heard():
        writes = Writes(folder)
        act()
        return list(writes.heard)

    return told_by_child(heard)


def ended_at_write(act, folder, at, end, said):
    """Do something, as a command does it, in a process of its own that ends at one of its writes.

    Args:
        act: what is done.
        folder: where it writes.
        at: number of the write; -1 lets it finish.
        end: how it ends, of `ENDS`.
        said: file for what is said on standard error.

    Returns:
        The exit code and what was said.
    """

    def main():
        handle = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        faulthandler.dump_traceback_later(HANGS_S, exit=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
        Writes(folder, at, end)
        reported(act)

    return in_child(main), said.read_text()
