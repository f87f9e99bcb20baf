"""Databases of studies with malformed rows are read, or refused in a line of hwsearch's own."""

import os
import random
import sqlite3
from contextlib import closing

import pytest

from hwsearch.errors import HwsearchError
from hwsearch.study import load_study
from tests.hardening.databases import known_version, make_database, mutated, read
from tests.hardening.harness import fault_of, limits
from tests.hardening.test_readers import count_of, to_itself, zeros

#: Databases by default, of those that a reader takes: opening one takes a tenth of a second.
SHARE = 0.06


def test_changed_databases_are_read_or_refused(memory):
    found = {}
    read(make_database(memory))  # as it was written it is read
    with limits(), known_version():
        for number in range(count_of(SHARE)):
            path = make_database(memory)
            mutated(path, random.Random(f"database {number}"))
            fault = fault_of(lambda path=path: read(path))
            if fault is not None:
                found.setdefault(fault, []).append(number)
    assert found == {}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("UPDATE trial_values SET value = NULL, value_type = 'FINITE'", "restore it from a copy"),
        ("INSERT INTO trial_values SELECT trial_id + 99, trial_id, 1, 1, 'FINITE' FROM trials", "IndexError"),
        ("UPDATE trial_user_attributes SET value_json = '[0, 1]' WHERE key = 'estimated_values'", "2 values"),
        ("UPDATE trial_user_attributes SET value_json = '{' WHERE key = 'size_bytes'", "JSONDecodeError"),
        ("UPDATE trial_user_attributes SET value_json = '\"x\"' WHERE key = 'size_bytes'", "size_bytes"),
        ("DELETE FROM trial_user_attributes WHERE key = 'generation_ms'", "hwsearch did not write"),
        ("DELETE FROM trial_user_attributes WHERE key = 'estimated_spread'", "estimated_spread, and has"),
        ("UPDATE trial_params SET param_value = 1e9", "hwsearch did not write"),
        ("DELETE FROM trial_params WHERE param_name = 'head'", "hwsearch did not write"),
        ("UPDATE study_user_attributes SET value_json = '[]' WHERE key = 'target_ms'", "target_ms"),
        ("DELETE FROM study_user_attributes WHERE key = 'space'", "space"),
        ("DROP TABLE trials", "it has lost table trials"),
    ],
)  # fmt: skip
def test_rows_that_nobody_of_ours_wrote_are_refused_in_one_line(tmp_path, change, said):
    path = make_database(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(change)
        connection.commit()
    with pytest.raises(HwsearchError, match=said) as caught:
        read(path)
    assert caught.value.exit_code == 2 and len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("name", ["s.db", "s"])
@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir, to_itself, zeros])
@pytest.mark.parametrize("is_storage", [False, True])
def test_what_is_no_database_is_refused_without_waiting(tmp_path, put, name, is_storage):
    put(tmp_path / name)
    given = ("s", str(tmp_path / name)) if is_storage else (str(tmp_path / name), None)
    with pytest.raises(HwsearchError):
        load_study(*given)
