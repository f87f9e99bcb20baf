"""Where studies live: an SQLite file for one machine, PostgreSQL for many."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback

from hwsearch.errors import StudyError

#: Seconds after which a worker that should have answered counts as dead, in heartbeats.
GRACE_BEATS = 2

#: Seconds to wait for a database server's answer.
CONNECT_S = 10


def storage_url(name: str, storage: str | None) -> str:
    """The storage of a study: as given, or an SQLite file under ``studies/``."""
    if storage is not None:
        return storage if "://" in storage else f"sqlite:///{storage}"
    folder = Path("studies")
    return f"sqlite:///{folder / name}.db"


def is_shared(url: str) -> bool:
    """Whether several workers may use a storage at once."""
    return not url.startswith("sqlite")


def open_storage(url: str, heartbeat_s: int = 30) -> RDBStorage:
    """A storage by its URL.

    Workers that share one tell it every `heartbeat_s` seconds that they live. A trial whose worker
    fell silent for two beats fails, and its plan is tried once more.

    Raises:
        StudyError: the URL is none, its driver is not installed, or nothing answers there.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        parsed = make_url(url)
    except SQLAlchemyError as error:
        raise StudyError(
            f"storage must be a path or a URL such as postgresql://user@host/database; got {url!r}"
        ) from error
    options: dict[str, Any] = {}
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername.startswith("postgresql"):
        options["connect_args"] = {"connect_timeout": CONNECT_S}
    shown = parsed.render_as_string(hide_password=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            storage = RDBStorage(
                parsed.render_as_string(hide_password=False),
                engine_kwargs=options,
                **(_heartbeat(heartbeat_s) if is_shared(url) else {}),
            )
    except ImportError as error:
        raise StudyError(
            f"storage {shown} needs a driver that is not installed ({_first_line(error)}); "
            'for PostgreSQL: pip install "hwsearch[postgresql]"'
        ) from error
    except (SQLAlchemyError, optuna.exceptions.OptunaError, RuntimeError) as error:
        cause = error.__cause__ or error
        raise StudyError(f"storage {shown} cannot be used: {_first_line(cause)}") from error
    if not is_shared(url):
        _commit_quickly(storage)
    return storage


def _commit_quickly(storage: RDBStorage) -> None:
    """Let SQLite commit to its log without waiting for the disk.

    A trial commits some thirty times, and each wait for the disk can take longer than its share of
    the loss. What a killed process has committed stays; only a power cut may undo the last trials.
    """
    from sqlalchemy import event

    @event.listens_for(storage.engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    storage.engine.dispose()  # connections from before the listener


def _heartbeat(heartbeat_s: int) -> dict[str, Any]:
    """Options of a storage that notices dead workers."""
    return {
        "heartbeat_interval": heartbeat_s,
        "grace_period": GRACE_BEATS * heartbeat_s,
        "heartbeat_stale_trial_callback": RetryHeartbeatStaleTrialCallback(max_retry=1),
    }


def _first_line(error: BaseException) -> str:
    return str(getattr(error, "orig", None) or error).strip().splitlines()[0]
