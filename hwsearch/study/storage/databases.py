"""Where studies live: an SQLite file for one machine, PostgreSQL for many."""

from __future__ import annotations

import os
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

from hwsearch.errors import HwsearchError, StudyError, redacted
from hwsearch.files.opening import check_plain
from hwsearch.files.refusals import quoted
from hwsearch.study.storage import sqlite
from hwsearch.study.storage.names import SUFFIX, check_study_name
from hwsearch.study.storage.presence import turn

#: Folder of studies that are given no storage.
STUDIES = Path("studies")

#: Seconds after which a worker that should have answered counts as dead, in heartbeats.
GRACE_BEATS = 2

#: Seconds to wait for a database server's answer.
CONNECT_S = 10


@dataclass(frozen=True)
class StudyLocation:
    """Where studies are kept.

    Attributes:
        url: an SQLAlchemy URL; empty for a file.
        path: an SQLite file; None for a URL.
    """

    url: str = ""
    path: Path | None = None

    @classmethod
    def of(cls, storage: str) -> StudyLocation:
        """A storage as it is given: a path, or a URL. Raises `StudyError` if it is neither."""
        if not storage.strip() or "\0" in storage:
            raise StudyError(f"storage must be a path or a URL; got {storage!r}")
        if "://" not in storage:
            return cls(path=Path(storage).expanduser())
        parsed = _parsed(storage)
        if parsed.get_backend_name() != "sqlite":
            return cls(storage)
        if parsed.database in (None, "", ":memory:"):
            raise StudyError(
                f"storage {storage!r} is kept in memory, so the study would be lost; "
                "give the path of a file"
            )
        return cls(storage) if parsed.query else cls(path=Path(parsed.database))

    def __str__(self) -> str:
        return self.url if self.path is None else str(self.path)

    @property
    def shown(self) -> str:
        """The location as messages show it, without a password."""
        return redacted(str(self))

    @property
    def is_shared(self) -> bool:
        """Whether several workers may use it at once."""
        return self.path is None and is_shared(self.url)

    def check(self, to_write: bool = False) -> None:
        """See that a file could be opened or made here, without making it. Raises `StudyError`.

        Args:
            to_write: whether one that is there must be writable, too.
        """
        if self.path is None:
            return
        try:
            self._check(self.path)
            is_locked_up = self.path.exists() and not sqlite.can_write(self.path)
        except (OSError, ValueError) as error:
            raise StudyError(f"storage {self.path} cannot be used: {error}") from error
        if to_write and is_locked_up:
            raise StudyError(
                f"storage {self.path} cannot be written: it or its folder is read-only; change its "
                "permissions, or give another --storage"
            )

    def _check(self, path: Path) -> None:
        if path.is_dir():
            raise StudyError(f"storage {path} is a folder; give the path of an SQLite file in it")
        if path.exists():
            if check_plain(path, sqlite.DATABASE) and not sqlite.is_database(path):
                raise StudyError(f"storage {path} is no SQLite database; give another path")
            return
        folder = path.parent
        if not folder.exists() and folder == STUDIES:
            folder = Path()  # it is made when the study is
        if not folder.is_dir():
            raise StudyError(f"storage {path}: there is no folder {folder}; create it first")
        if not os.access(folder, os.W_OK | os.X_OK):
            raise StudyError(f"storage {path}: folder {folder} cannot be written to")


def location_of(name: str, storage: str | None) -> StudyLocation:
    """The location of a study: as given, or an SQLite file under ``studies/``.

    Raises:
        StudyError: the storage cannot be read as one, or no study can have that name.
    """
    if storage is not None:
        check_study_name(name, is_file=False)
        return StudyLocation.of(storage)
    return StudyLocation(path=STUDIES / f"{check_study_name(name)}{SUFFIX}")


def is_shared(url: str) -> bool:
    """Whether several workers may use a storage at once."""
    return not url.startswith("sqlite")


def open_storage(location: str | StudyLocation, heartbeat_s: int = 30) -> RDBStorage:
    """A storage by its location.

    Workers that share one tell it every `heartbeat_s` seconds that they live. A trial whose worker
    fell silent for two beats fails, and its plan is tried once more. A locked SQLite file is
    waited for (`hwsearch.study.storage.sqlite`).

    Raises:
        StudyError: the URL is none, its driver is not installed, nothing answers there, or the
            file is no database of studies.
    """
    from alembic.util.exc import CommandError

    location = location if isinstance(location, StudyLocation) else StudyLocation.of(location)
    location.check()
    try:
        with warnings.catch_warnings(), storage_errors(location), _alone_at_first(location):
            warnings.simplefilter("ignore", ExperimentalWarning)
            url, options = _engine(location)
            storage = _opened(
                # Optuna formats it, so braces stand for something else
                url.replace("{", "{{").replace("}", "}}"),
                engine_kwargs=options,
                **(_heartbeat(heartbeat_s) if location.is_shared else {}),
            )
    except ImportError as error:
        raise StudyError(
            f"storage {location.shown} needs a driver that is not installed ({_first_line(error)}); "
            'for PostgreSQL: pip install "hwsearch[postgresql]"'
        ) from error
    except (optuna.exceptions.OptunaError, RuntimeError, CommandError) as error:
        cause = error.__cause__ or error
        raise StudyError(
            f"storage {location.shown} cannot be used: {_first_line(cause)}"
        ) from error
    if not location.is_shared and location.path is None:
        _commit_quickly(storage)
    return storage


#: Versions of Optuna's tables that this process found to be those that Optuna expects.
_EXPECTED: set[str] = set()


def _opened(url: str, **options: Any) -> RDBStorage:
    """Optuna's storage, its tables made, or found to be of the version that Optuna expects.

    Which one that is Optuna learns by running all its migrations' files, so it is asked once a process.
    """
    if _EXPECTED:
        storage = RDBStorage(url, skip_compatibility_check=True, **options)
        if storage.get_current_version() in _EXPECTED:
            return storage
        storage.engine.dispose()
    storage = RDBStorage(url, **options)
    _EXPECTED.add(storage.get_current_version())
    return storage


@contextmanager
def _alone_at_first(location: StudyLocation) -> Iterator[None]:
    """Make the tables of a new file while no other process does."""
    with ExitStack() as held:
        if location.path is not None and not sqlite.has_tables(location.path):
            held.enter_context(turn(location.path))
        yield


@contextmanager
def storage_errors(location: StudyLocation) -> Iterator[None]:
    """Turn what a database says into one line. Raises `StudyError`."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, sqlite3.Error) as error:
        raise StudyError(f"storage {location.shown} {explain_storage(error)}") from error


#: What rows raise that nobody of ours wrote: values of other types, names that are missing, JSON cut off.
_MALFORMED = (
    ValueError, TypeError, LookupError, AttributeError, AssertionError, ArithmeticError, RuntimeError,
    NotImplementedError,
)  # fmt: skip


@contextmanager
def rows_of(study: str) -> Iterator[None]:
    """Turn what reading the rows of a study raises into one line. Raises `StudyError`."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except HwsearchError:
        raise
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, sqlite3.Error) as error:
        raise StudyError(f"the storage of study {study} {explain_storage(error)}") from error
    except (*_MALFORMED, optuna.exceptions.OptunaError) as error:
        raise StudyError(
            f"study {study}: its database holds rows that hwsearch did not write "
            f"({type(error).__name__}: {quoted(error)}); restore it from a copy, or give another"
        ) from error


def explain_storage(error: BaseException) -> str:
    """What is wrong with a storage, and the fix, by what its database said."""
    said = _first_line(_root(error))
    if "is locked" in said:
        return (
            f"is locked by another program and was not released within {sqlite.WAIT_S:g} s; close "
            "that program and run the same command again: finished trials are kept"
        )
    if "disk is full" in said or "No space left" in said:
        return f"cannot be written: {said}; make room and run the same command again"
    if "readonly" in said or "read-only" in said:
        return f"cannot be written: {said}; change its permissions, or give another --storage"
    if "malformed" in said or "not a database" in said:
        return f"is damaged or no database: {said}; give another --storage"
    if "load plugin" in said:
        return f"cannot be used: {said}; take a path, or a URL such as postgresql://user@host/db"
    return f"cannot be used: {said}"


def _engine(location: StudyLocation) -> tuple[str, dict[str, Any]]:
    """The URL and the options that SQLAlchemy makes an engine of."""
    if location.path is not None:
        tables = sqlite.foreign_tables(location.path) if location.path.exists() else []
        if tables:
            raise StudyError(
                f"storage {location.path} is a database of something else (it has table {tables[0]}); "
                "give another path"
            )
        lost = sqlite.lost_tables(location.path) if location.path.exists() else []
        if lost:
            raise StudyError(
                f"storage {location.path} is damaged: it has lost table {lost[0]}; restore it from a "
                "copy, or give another"
            )
        # the URL only says which kind it is: a path may hold what a URL gives a meaning
        return f"sqlite:///{quote(str(location.path))}", {
            "creator": partial(sqlite.connect_quickly, location.path)
        }
    parsed = _parsed(location.url)
    options: dict[str, Any] = {}
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername.startswith("postgresql"):
        options["connect_args"] = {"connect_timeout": CONNECT_S}
    if parsed.get_backend_name() == "sqlite":
        options["connect_args"] = {"factory": sqlite.PatientConnection}
    return parsed.render_as_string(hide_password=False), options


def _parsed(url: str) -> Any:
    """A URL as SQLAlchemy reads it."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return make_url(url)
    except (SQLAlchemyError, ValueError) as error:
        raise StudyError(
            "storage must be a path or a URL such as postgresql://user@host/database; got "
            f"{redacted(url)!r}"
        ) from error


def _commit_quickly(storage: RDBStorage) -> None:
    """Let SQLite that was given by its URL commit as `sqlite.commit_quickly` says."""
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        sqlite.commit_quickly(connection)

    storage.engine.dispose()  # connections from before the listener


def _heartbeat(heartbeat_s: int) -> dict[str, Any]:
    """Options of a storage that notices dead workers."""
    return {
        "heartbeat_interval": heartbeat_s,
        "grace_period": GRACE_BEATS * heartbeat_s,
        "heartbeat_stale_trial_callback": RetryHeartbeatStaleTrialCallback(max_retry=1),
    }


def _root(error: BaseException) -> BaseException:
    """What an error came from in the end."""
    while (cause := getattr(error, "orig", None) or error.__cause__) is not None:
        error = cause
    return error


def _first_line(error: BaseException) -> str:
    said = str(getattr(error, "orig", None) or error).strip() or type(error).__name__
    return redacted(said.splitlines()[0])
