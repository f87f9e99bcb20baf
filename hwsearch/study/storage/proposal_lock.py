"""One worker at a time: a lock in the database or beside it, and gone with whoever held it."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from optuna.storages import RDBStorage

from hwsearch.study.storage.presence import turn
from hwsearch.study.storage.sqlite import file_of

#: Seconds to wait for another worker; then go on without a lock, since its host may have vanished.
PATIENCE_S = 20


class ProposalLock:
    """The right to choose the next plan, until it is released.

    Workers choose one after the other, so that each sees the plans of all others in full, and
    none is chosen twice; trials themselves run side by side.

    Attributes:
        is_held: whether no other worker chooses meanwhile; not so where the database has no lock.
    """

    def __init__(self, held: ExitStack, is_held: bool) -> None:
        self._held = held
        self.is_held = is_held

    def release(self) -> None:
        """Let the next worker choose; releasing twice does nothing."""
        self._held.close()


@contextmanager
def proposal_lock(storage: RDBStorage, study_name: str) -> Iterator[ProposalLock]:
    """Wait for a study's lock, and hold it until it is released or the block is left.

    PostgreSQL keeps the lock with the connection (``pg_advisory_lock``), so a worker that dies
    leaves none behind. An SQLite file has a file beside it that the system locks. Other databases
    have no lock.
    """
    with ExitStack() as held:
        is_held = False
        if (file := file_of(storage)) is not None:
            held.enter_context(turn(file))
            is_held = True
        if storage.engine.dialect.name == "postgresql":
            key = zlib.crc32(study_name.encode())
            is_held = held.enter_context(_advisory_lock(storage, key))
        yield ProposalLock(held, is_held)


@contextmanager
def _advisory_lock(storage: RDBStorage, key: int) -> Iterator[bool]:
    """Wait for PostgreSQL's lock of a number; whether it was given in time."""
    from sqlalchemy import text
    from sqlalchemy.exc import OperationalError

    engine = storage.engine.execution_options(isolation_level="AUTOCOMMIT")
    with engine.connect() as connection, ExitStack() as after:
        connection.execute(text(f"SET lock_timeout = '{PATIENCE_S}s'"))
        after.callback(connection.execute, text("RESET lock_timeout"))  # others use it next
        is_held = False
        with suppress(OperationalError):
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": key})
            after.callback(
                connection.execute, text("SELECT pg_advisory_unlock(:key)"), {"key": key}
            )
            is_held = True
        yield is_held
