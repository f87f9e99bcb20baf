"""Databases of studies with rows that nobody of ours wrote, changed by SQL, and what reads them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from unittest import mock

from tests.hardening import mutators
from tests.hardening.places import seed
from tests.hardening.studies import make_study, read_front, read_target

#: Rows of these say what a study and its trials are.
TABLES = (
    "trials", "trial_values", "trial_params", "trial_user_attributes", "trial_system_attributes",
    "study_user_attributes", "studies", "study_directions",
)  # fmt: skip

#: What stands in place of a cell; None stands for nothing, and SQLite keeps NaN as nothing, too.
CELLS = (
    None, "", "x", "NaN", "Infinity", "null", "{}", "[]", "[[1]]", '"x"', "true", "1e999", "{", '"\\ud800"',
    "\0", "[" * 100_000, "9" * 5000, "[" + "1," * 20_000 + "1]", "a" * 300_000, 0, -1, 3, 2**62, -(2**63),
    0.5, -0.0, 1e308, 5e-324, float("inf"), -float("inf"), float("nan"), b"", b"\xff\xfe{",
    "{}".encode("utf-16"), b"\0" * 99, "COMPLETE", "FAIL", "RUNNING", "INF_POS", "MINIMIZE",
    "2024-13-45 99:00", "é",
)  # fmt: skip

_ATTRIBUTES = ("study_user_attributes", "trial_user_attributes", "trial_system_attributes")


def _make_free(folder):
    """A sound study, its tables without what SQLite would hold malformed rows against."""
    path = Path(shutil.copy(seed("study", make_study) / "s.db", folder))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        for table in TABLES:
            connection.execute(f"CREATE TABLE free AS SELECT * FROM {table}")
            connection.execute(f"DROP TABLE {table}")
            connection.execute(f"ALTER TABLE free RENAME TO {table}")
        connection.commit()
        connection.execute("VACUUM")


def make_database(folder):
    """The path of a copy of one sound study."""
    for old in folder.glob("s.db*"):  # whoever read it may hold it still, so it is another file
        old.unlink()
    return Path(shutil.copy(seed("free study", _make_free) / "s.db", folder))


def cell_changed(connection, chance):
    table, column, row = _cell(connection, chance)
    connection.execute(
        f'UPDATE {table} SET "{column}" = ? WHERE rowid = ?', (chance.choice(CELLS), row)
    )


def bytes_as_text(connection, chance):
    """Bytes that are not UTF-8 in place of a text."""
    table, column, row = _cell(connection, chance)
    connection.execute(
        f"UPDATE {table} SET \"{column}\" = CAST(x'7b22e9ff' AS TEXT) WHERE rowid = ?", (row,)
    )


def attribute_changed(connection, chance):
    """An attribute changed as files of JSON are."""
    table = chance.choice(_ATTRIBUTES)
    row, kept = chance.choice(
        connection.execute(f"SELECT rowid, value_json FROM {table}").fetchall()
    )
    content = chance.choice(mutators.JSON)(str(kept).encode(), chance)
    connection.execute(
        f"UPDATE {table} SET value_json = ? WHERE rowid = ?",
        (content.decode("utf-8", "replace"), row),
    )


def inner_changed(connection, chance):
    """The JSON that an attribute holds as text changed: spaces, lengths, decodings."""
    rows = connection.execute("SELECT rowid, value_json FROM study_user_attributes").fetchall()
    held = [(row, json.loads(kept)) for row, kept in rows]
    row, text = chance.choice(
        [one for one in held if str(one[1]).startswith("{") and isinstance(one[1], str)]
    )
    changed = mutators.json_changed(text.encode(), chance).decode("utf-8", "replace")
    connection.execute(
        "UPDATE study_user_attributes SET value_json = ? WHERE rowid = ?",
        (json.dumps(changed), row),
    )


def row_deleted(connection, chance):
    table, _, row = _cell(connection, chance)
    connection.execute(f"DELETE FROM {table} WHERE rowid = ?", (row,))


def rows_deleted(connection, chance):
    connection.execute(f"DELETE FROM {chance.choice(TABLES)}")


def row_doubled(connection, chance):
    table, _, row = _cell(connection, chance)
    connection.execute(f"INSERT INTO {table} SELECT * FROM {table} WHERE rowid = ?", (row,))


def table_dropped(connection, chance):
    connection.execute(f"DROP TABLE {chance.choice((*TABLES, 'version_info', 'alembic_version'))}")


def column_dropped(connection, chance):
    table, column, _ = _cell(connection, chance)
    connection.execute(f'ALTER TABLE {table} DROP COLUMN "{column}"')


def version_changed(connection, chance):
    table, column = chance.choice(
        (
            ("version_info", "schema_version"),
            ("version_info", "library_version"),
            ("alembic_version", "version_num"),
        )
    )
    connection.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (chance.choice(CELLS[1:]),))


def _cell(connection, chance):
    """A table with rows, a column and a row of it."""
    while True:
        table = chance.choice(TABLES)
        rows = connection.execute(f"SELECT rowid FROM {table}").fetchall()
        if rows:
            columns = [found[1] for found in connection.execute(f"PRAGMA table_info({table})")]
            return table, chance.choice(columns), chance.choice(rows)[0]


#: Ways to change rows, the likely ones several times.
ROWS = (
    *[cell_changed] * 6, bytes_as_text, *[attribute_changed] * 5, *[inner_changed] * 3, row_deleted,
    rows_deleted, row_doubled, table_dropped, column_dropped, version_changed,
)  # fmt: skip


def mutated(path, chance):
    """Change a database in one way, or its bytes."""
    if chance.random() < 0.12:
        content = chance.choice(mutators.BYTES)(path.read_bytes(), chance)
        path.write_bytes(content)
        return
    with closing(sqlite3.connect(path)) as connection:
        for _ in range(chance.choice((1, 1, 1, 3))):
            # another change left nothing there to change
            with suppress(sqlite3.Error, ValueError, TypeError, LookupError):
                chance.choice(ROWS)(connection, chance)
        connection.commit()


def read(path):
    """What `hwsearch front`, other targets and exports ask of a study."""
    from hwsearch.study import load_study

    study = load_study(str(path))
    return read_front(study), read_target(study)


@contextmanager
def known_version():
    """Have Optuna look its newest version up once, and not at each opening: it imports eleven modules."""
    from optuna.storages._rdb.storage import _VersionManager

    found = []

    def newest(self):
        if not found:
            found.append(asked(self))
        return found[0]

    asked = _VersionManager.get_head_version
    with mock.patch.object(_VersionManager, "get_head_version", newest):
        yield
