"""SQLite files as studies need them: any path, and patience where another program holds the file."""

from __future__ import annotations

import logging
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote

from hwsearch.errors import StudyError
from hwsearch.files.kinds import FileKind
from hwsearch.files.opening import open_plain

if TYPE_CHECKING:
    from optuna.storages import RDBStorage

Found = TypeVar("Found")

#: Seconds to wait for a locked file before giving up, and before saying that one waits.
WAIT_S, NOTICE_S = 60.0, 3.0

#: How every SQLite database begins.
MAGIC = b"SQLite format 3\0"

#: Tables that every database of studies has had from Optuna's first version on.
OF_STUDIES = frozenset(
    {"studies", "study_user_attributes", "trials", "trial_params", "trial_user_attributes"}
)

#: The file of studies; SQLite's own limit is far beyond any disk.
DATABASE = FileKind("storage", 1 << 48, StudyError, "give another path")


class PatientCursor(sqlite3.Cursor):
    """A cursor that waits where the file is locked."""

    connection: PatientConnection

    def execute(self, *arguments: Any) -> PatientCursor:
        """As `sqlite3.Cursor.execute`."""
        run = super().execute
        self.connection.patiently(lambda: run(*arguments))
        return self

    def executemany(self, *arguments: Any) -> PatientCursor:
        """As `sqlite3.Cursor.executemany`; a lock is met at its first row or not at all."""
        run = super().executemany
        self.connection.patiently(lambda: run(*arguments))
        return self


class PatientConnection(sqlite3.Connection):
    """A connection that says what it waits for, and gives up after `WAIT_S`.

    SQLite waits by itself, but silently; so it is asked to wait `NOTICE_S` at a time.
    """

    def __init__(self, database: Any, *arguments: Any, **options: Any) -> None:
        options["timeout"] = min(NOTICE_S, WAIT_S)
        super().__init__(database, *arguments, **options)
        self._file = str(database)
        self._patience_s = WAIT_S

    def cursor(self, *_: Any) -> PatientCursor:  # type: ignore[override]
        """A patient cursor."""
        return super().cursor(PatientCursor)

    def execute(self, *arguments: Any) -> PatientCursor:
        """As `sqlite3.Connection.execute`, which would not ask the cursor's own `execute`."""
        return self.cursor().execute(*arguments)

    def commit(self) -> None:
        """As `sqlite3.Connection.commit`."""
        self.patiently(super().commit)

    def patiently(self, act: Callable[[], Found]) -> Found:
        """Do something, and again while the file is locked. Raises `sqlite3.OperationalError`."""
        stop, told = time.monotonic() + self._patience_s, False
        while True:
            try:
                return act()
            except UnicodeDecodeError:  # SQLite's own message, or a name in the file
                raise sqlite3.DatabaseError("it holds bytes that are no UTF-8") from None
            except sqlite3.OperationalError as error:
                if not is_locked(error):
                    raise
                if time.monotonic() >= stop:
                    # whoever tidies up after this failure shall not wait as long once more
                    self._patience_s = 0.0
                    super().execute("PRAGMA busy_timeout = 0")
                    raise
                if not told:
                    logging.getLogger(__name__).warning(
                        f"waiting for {self._file}, which another program has locked "
                        f"({WAIT_S:g} s at most)"
                    )
                    told = True


def is_locked(error: BaseException) -> bool:
    """Whether waiting may help: the file is locked, and not merely changed since it was read.

    >>> is_locked(sqlite3.OperationalError("database is locked"))
    True
    """
    if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_BUSY_SNAPSHOT:
        return False
    said = str(error)
    return "database is locked" in said or "table is locked" in said


def connect(path: Path) -> sqlite3.Connection:
    """A patient connection to the file of this very path, which is not read as a URL.

    One that cannot be written is opened to be read: SQLite would else make files beside it.
    """
    if can_write(path):
        return sqlite3.connect(path, factory=PatientConnection, check_same_thread=False)
    # nobody changes it, unless somebody left a log beside it
    rest = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    url = f"file:{quote(str(path.absolute()))}?mode=ro{rest}"
    return sqlite3.connect(url, uri=True, factory=PatientConnection, check_same_thread=False)


def connect_quickly(path: Path) -> sqlite3.Connection:
    """As `connect`, and where the file can be written, as `commit_quickly`."""
    connection = connect(path)
    if can_write(path):
        commit_quickly(connection)
    return connection


def commit_quickly(connection: sqlite3.Connection) -> None:
    """Let SQLite commit to its log without waiting for the disk.

    The tables of a new file are some twenty commits and a trial some thirty, and each wait for the disk
    can take longer than its share of the loss. What a killed process has committed stays; only a power
    cut may undo the last trials.
    """
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")


def can_write(path: Path) -> bool:
    """Whether a file, if it is there, and its folder may be written to."""
    return os.access(path.parent, os.W_OK) and (not path.exists() or os.access(path, os.W_OK))


def foreign_tables(path: Path) -> list[str]:
    """Tables of a database that Optuna has not made; none for one that is new, or of Optuna.

    Optuna makes its tables one after the other, so a run that was killed there leaves a part of them.

    Raises:
        sqlite3.DatabaseError: it is no database, or is locked.
    """
    from optuna.storages._rdb.models import BaseModel  # Optuna names its tables nowhere else

    names, known = _tables(path), {*BaseModel.metadata.tables, "alembic_version"}
    return [] if {"studies", "version_info"} <= names else sorted(names - known)


def lost_tables(path: Path) -> list[str]:
    """Tables that a database of studies once had and has no more; Optuna would make them anew, empty.

    Raises:
        sqlite3.DatabaseError: it is no database, or is locked.
    """
    names = _tables(path)
    return sorted(OF_STUDIES - names) if "alembic_version" in names else []


def has_tables(path: Path) -> bool:
    """Whether a file holds all that Optuna makes first; the last of it is the version.

    Raises:
        sqlite3.DatabaseError: it is no database, or is locked.
    """
    return path.exists() and "alembic_version" in _tables(path)


def _tables(path: Path) -> set[str]:
    connection = connect(path)
    try:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
    finally:
        connection.close()
    return {name for (name,) in rows}


def file_of(storage: RDBStorage) -> Path | None:
    """The file of a storage; None where it is no SQLite file.

    Asks the database, since a URL may name its file in several ways.
    """
    if storage.engine.dialect.name != "sqlite":
        return None
    with storage.engine.connect() as connection:
        row = connection.exec_driver_sql("PRAGMA database_list").first()
    return Path(row[2]) if row is not None and row[2] else None


def is_database(path: Path) -> bool:
    """Whether a plain file begins as every SQLite database does."""
    try:
        with open_plain(path, DATABASE) as file:
            return file.read(len(MAGIC)) == MAGIC
    except StudyError:
        return False
