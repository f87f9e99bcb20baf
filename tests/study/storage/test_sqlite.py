"""SQLite files: what is none is told as SQLite tells it."""

import sqlite3
from contextlib import closing

import pytest

from hwsearch.study.storage.sqlite import connect, connect_quickly, has_tables


def test_a_file_whose_names_are_no_utf_8_is_no_database(tmp_path):
    """SQLite puts the name into its own message, which Python cannot decode."""
    path = tmp_path / "s.db"
    with closing(sqlite3.connect(path)) as made:
        made.execute("CREATE TABLE abcdefgh (a TEXT)")
        made.commit()
    path.write_bytes(path.read_bytes().replace(b"abcdefgh", b"\xc3(\xc3(\xc3(\xc3("))
    with pytest.raises(sqlite3.DatabaseError, match="no UTF-8"):
        has_tables(path)


def test_tables_are_made_without_waiting_for_the_disk(tmp_path):
    path = tmp_path / "s.db"
    with closing(connect_quickly(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA synchronous").fetchone() == (1,)


def test_a_file_that_cannot_be_written_is_read(tmp_path, monkeypatch):
    path = tmp_path / "s.db"
    with closing(connect(path)) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.commit()
    monkeypatch.setattr("hwsearch.study.storage.sqlite.can_write", lambda _: False)
    with closing(connect_quickly(path)) as connection:
        assert connection.execute("SELECT count(*) FROM t").fetchone() == (0,)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            connection.execute("INSERT INTO t VALUES (1)")
