"""Databases of studies with rows that nobody of ours wrote, changed by SQL, and what reads them."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

from tests.hardening import mutators
from tests.hardening.readers import seed

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


def _make_study(folder):
    """A study with trials of every kind: finished, failed, stopped, waiting and running."""
    import optuna

    from hwsearch.study.goal import Goal
    from hwsearch.study.records.record import update_record
    from hwsearch.study.run import run_study
    from tests.study.test_run import make_objective

    path = folder / "s.db"
    study = run_study(
        make_objective(Goal(target_ratio=1.0)),
        trials=6,
        name="s",
        storage=str(path),
        sampler="random",
    )
    update_record(
        study.optuna,
        watts=5.0,
        max_joules=1e6,
        loss_noise_nats=1e-6,
        finalists={"target_ms": study.target_ms, "trials": 7, "winner": 0},
    )
    params = study.optuna.get_trials()[0].params
    study.optuna.enqueue_trial(params)
    for state, attributes in (
        (optuna.trial.TrialState.FAIL, {"failure": "its loss is NaN"}),
        (optuna.trial.TrialState.PRUNED, {"estimated_values": [0.5], "estimated_spread": 0.1}),
    ):
        trial = study.optuna.ask()
        study.space.suggest(trial)
        for name, value in attributes.items():
            trial.set_user_attr(name, value)
        study.optuna.tell(trial, state=state)
    study.optuna.ask()
    study.optuna._storage._backend.engine.dispose()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
        for table in TABLES:  # without what SQLite would hold malformed rows against
            connection.execute(f"CREATE TABLE free AS SELECT * FROM {table}")
            connection.execute(f"DROP TABLE {table}")
            connection.execute(f"ALTER TABLE free RENAME TO {table}")
        connection.commit()


def make_database(folder):
    """The path of a copy of one sound study."""
    for old in folder.glob("s.db*"):  # whoever read it may hold it still, so it is another file
        old.unlink()
    return Path(shutil.copy(seed("study", _make_study) / "s.db", folder))


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


def read_front(path):
    """What `hwsearch front` and reports ask of a study."""
    from hwsearch.cli.studies.front import front_rows, front_title, noise_line
    from hwsearch.study import load_study

    study = load_study(str(path))
    asked = (front_title(study), noise_line(study.noise), study.failures, study.stopped)
    return front_rows(study), asked


def read_target(path):
    """What `hwsearch front --target-ms` and exports ask of a study."""
    from hwsearch.study import load_study, resolve

    study = load_study(str(path))
    return resolve(study, study.target_ms), study.best_plan, study.passes()
