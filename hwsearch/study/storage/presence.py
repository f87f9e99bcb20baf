"""Who is at work on an SQLite file: each worker holds the lock of a file beside it while it lives.

The system frees a lock when its process ends, however that ends. So a trial whose worker's lock is free
has nobody who works on it, and no worker waits for signs of life.
"""

from __future__ import annotations

import glob
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from optuna.storages import RDBStorage

from hwsearch.errors import StudyError
from hwsearch.study.storage import sqlite

#: Seconds between two tries of a lock that somebody holds.
POLL_S = 0.02


@contextmanager
def turn(database: Path) -> Iterator[None]:
    """Be the only one who chooses plans, or makes tables, in an SQLite file.

    Raises:
        StudyError: somebody else has been at it for as long as a locked file is waited for.
    """
    from filelock import FileLock, Timeout  # slow to import

    lock = FileLock(_beside(database, "lock"), timeout=sqlite.WAIT_S, poll_interval=POLL_S)
    try:
        lock.acquire()
    except Timeout as error:
        raise StudyError(
            f"storage {database} is locked by another program: a search there has chosen its next plan "
            f"for more than {sqlite.WAIT_S:g} s; continue or end that process"
        ) from error
    try:
        yield
    finally:
        lock.release()


@dataclass(frozen=True)
class Presence:
    """A worker at an SQLite file, by the name under which others see that it lives.

    A name is used once, so whoever finds one without a holder may remove its file.
    """

    database: Path
    name: str

    def is_alive(self, name: str | None) -> bool:
        """Whether the worker of a name lives; what a dead one left is removed."""
        from filelock import FileLock, Timeout

        if name is None or name == self.name:
            return name is not None
        path = _beside(self.database, name)
        if not path.exists():
            return False
        try:
            with FileLock(path).acquire(blocking=False):
                path.unlink(missing_ok=True)
        except Timeout:
            return True
        return False

    @property
    def has_company(self) -> bool:
        """Whether others are at work on the same file."""
        paths = self.database.parent.glob(_beside_any(self.database))
        names = {path.name.rpartition(".")[2] for path in paths} - {self.name}
        return any(self.is_alive(name) for name in names)


@contextmanager
def presence(storage: RDBStorage) -> Iterator[Presence | None]:
    """Be at work on an SQLite file; None for other databases, which notice by themselves."""
    from filelock import FileLock

    database = sqlite.file_of(storage)
    if database is None:
        yield None
        return
    name = f"worker-{uuid.uuid4().hex[:12]}"
    path = _beside(database, name)
    with FileLock(path).acquire(blocking=False):
        try:
            yield Presence(database, name)
        finally:
            path.unlink(missing_ok=True)


def _beside(database: Path, what: str) -> Path:
    """A file beside a database: hidden, and in no listing of studies."""
    return database.with_name(f".{database.name}.{what}")


def _beside_any(database: Path) -> str:
    """Matches what all workers keep beside a database, whatever signs are in its name."""
    return f"{glob.escape(_beside(database, 'worker-').name)}*"
