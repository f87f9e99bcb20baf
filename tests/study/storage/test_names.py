"""What search writes, front finds; and what cannot be written is refused before anything is."""

import sqlite3
import string
import threading
import time
import unicodedata

import numpy as np
import optuna
import pytest

from hwsearch.errors import StudyError, UnknownNameError, redacted
from hwsearch.plan import WeightFormat
from hwsearch.study import Goal, load_study
from hwsearch.study.run import run_study
from hwsearch.study.storage import sqlite
from hwsearch.study.storage.databases import StudyLocation, location_of, open_storage
from hwsearch.study.storage.names import check_study_name, default_name
from tests.study.test_run import make_objective

GOOD = ["a?b", "50% a%20b", "a#b:c;d", "{SCHEMA_VERSION}", "é名前", "a&mode=ro", "file:x", "a'b\"c",
        "~", "é" * 115, "a.db.x", "console", "com0", "my.con"]  # fmt: skip
BAD = ["", " ", "   ", " a", "a ", ".", "..", "a/b", "/a", "a\\b", "a\0b", "a\nb", "a\tb", "-a", "--name",
       ".hidden", "a.db", "a.DB", ".db", "a" * 231, "é" * 116, "\ud800", "a\x7fb", "a\u2028b", "a.", "a. .",
       "nul", "CON", "com1.run"]  # fmt: skip


@pytest.fixture(scope="module")
def objective():
    return make_objective(Goal(target_ratio=1.0))


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, storage=None):
    location = location_of(name, storage)
    location.check()
    if location.path is not None:
        location.path.parent.mkdir(exist_ok=True)
    study = optuna.create_study(
        study_name=check_study_name(name, storage is None), storage=open_storage(location)
    )
    space = make_space()
    study.set_user_attr("space", space)
    study.set_user_attr("target_ms", 1.0)
    return location


def make_space():
    from hwsearch.study import SearchSpace

    return SearchSpace(num_layers=2, thresholds=(1.0,)).model_dump_json()


@pytest.mark.parametrize("name", GOOD)
def test_what_is_written_is_found(name, tmp_path):
    location = write(name)
    assert location.path.is_file()
    assert load_study(name).name == name
    assert load_study(str(location.path)).name == name
    assert [p.name for p in (tmp_path / "studies").glob("*.db")] == [f"{name}.db"]


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_a_file_is_refused_and_leaves_nothing(objective, name, tmp_path):
    with pytest.raises(StudyError, match=r"cannot be called .*: .*; letters, digits") as error:
        run_study(objective, trials=1, name=name)
    assert len(str(error.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


def test_random_names_are_found_or_refused(tmp_path):
    letters = string.printable + "éß名\u0301\u202e?%#:&{}\\/."
    rng = np.random.default_rng(0)
    found = 0
    for number in range(24):
        drawn = rng.choice(list(letters), size=int(rng.integers(1, 5)))
        name = f"{number}{''.join(drawn)}"
        try:
            write(name)
        except StudyError:
            continue
        assert load_study(name).name == unicodedata.normalize("NFC", name)
        found += 1
    assert found > 6


def test_a_name_is_found_in_either_form_of_unicode():
    write("cafe\u0301")
    assert load_study("caf\u00e9").name == load_study("cafe\u0301").name == "caf\u00e9"


@pytest.mark.parametrize("name", ["org/model", "a.db"])
def test_a_given_storage_takes_names_that_are_no_files(name):
    write(name, "all.db")
    assert load_study(name, "all.db").name == name


@pytest.mark.parametrize("path", ["a?b%20.db", "{a} b.sqlite", "plain"])
def test_a_storage_is_a_path_whatever_is_in_it(path, tmp_path):
    write("s", path)
    assert (tmp_path / path).is_file()
    assert load_study("s", path).name == load_study(path).name == "s"


def test_the_home_folder_is_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write("s", "~/in-home.db")
    assert (tmp_path / "in-home.db").is_file()


def test_storages_that_cannot_be_are_one_line(objective, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.db").write_text("no database " * 99)
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE history (a)")
    other.commit()
    other.close()
    old = open_storage("old.db")
    with old.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'v99.0.0.z'")
    future = tmp_path / "old.db"
    for storage, said in (
        ("folder", "is a folder"),
        ("nowhere/s.db", "no folder nowhere"),
        ("text.db/s.db", "no folder text.db"),
        ("text.db", "is no SQLite database"),
        ("other.db", "a database of something else"),
        (str(future), "cannot be used"),
        ("", "a path or a URL"),
        ("sqlite://", "kept in memory"),
        ("sqlite:///:memory:", "kept in memory"),
        ("abacus://host/x", "cannot be used"),
        ("mysql+nodriver://u:s3cret@h/x", "cannot be used"),
        ("postgresql://u:s3cret@host:port/x", "a path or a URL"),
        ("x" * 300 + ".db", "cannot be used"),
        ("postgresql://127.0.0.1:1/x?user=u&password=s3cret", "cannot be used"),
    ):
        with pytest.raises(StudyError, match=said) as error:
            run_study(objective, trials=1, name="s", storage=storage)
        assert len(str(error.value).splitlines()) == 1
        assert "s3cret" not in str(error.value)
    tables = sqlite3.connect("other.db").execute("SELECT name FROM sqlite_master").fetchall()
    assert tables == [("history",)], "nothing was written into somebody else's database"


def test_a_study_that_is_not_there_is_named(tmp_path):
    write("there")
    with pytest.raises(UnknownNameError, match=r"unknown study 'thare'; did you mean 'there'"):
        load_study("thare")
    with pytest.raises(StudyError, match="does not exist"):
        load_study("there", "nowhere.db")
    with pytest.raises(UnknownNameError, match="known: there"):
        load_study("other", "studies/there.db")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql://u:p@h/d", "postgresql://u:***@h/d"),
        ("x postgresql+psycopg://u:p%40x@h:5/d y", "x postgresql+psycopg://u:***@h:5/d y"),
        ("postgresql://u@h/d", "postgresql://u@h/d"),
        ("host=h password=p user=u", "host=h password=*** user=u"),
    ],
)
def test_passwords_are_left_out(text, shown):
    assert redacted(text) == shown


def test_default_names_can_be_files(tmp_path, monkeypatch):
    (tmp_path / "..odd\\name.").mkdir()
    models = [
        ".",
        "..",
        "org/model",
        "/",
        "a\nb",
        "x" * 400,
        "-m",
        "m.db",
        "é" * 200,
        "..odd\\name.",
    ]
    for model in models:
        for device in ("apple-m2", "x.db"):
            name = default_name(model, device)
            assert check_study_name(name) == name
    assert default_name("org/model", "cpu") == "model-cpu"


def let_go(study):
    """Close a study's own connections, so that the file's journal can be changed."""
    study.optuna._storage._backend.engine.dispose()


def hold(path, until, journal="wal"):
    """Lock a database as another program would; released when something holds."""
    held = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    held.execute(f"PRAGMA journal_mode={journal}")
    held.execute("BEGIN EXCLUSIVE")

    def release():
        while not until():
            time.sleep(0.02)
        held.execute("ROLLBACK")
        held.close()

    holder = threading.Thread(target=release, daemon=True)
    holder.start()
    return holder


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_locked_database_is_waited_for_then_named(objective, monkeypatch, caplog, journal):
    small = make_space_objective(objective)
    study = run_study(small, trials=2, name="s", storage="s.db", sampler="random")
    monkeypatch.setattr(sqlite, "NOTICE_S", 0.05)
    let_go(study)
    waits = "waiting for s.db, which another program has locked"
    holder = hold("s.db", lambda: waits in caplog.text, journal)
    study = run_study(small, trials=4, name="s", storage="s.db", sampler="random")
    holder.join()
    assert len(study.frame()) == 4, "it went on when the file was released"
    monkeypatch.setattr(sqlite, "WAIT_S", 0.2)
    let_go(study)
    given_up = threading.Event()
    holder = hold("s.db", given_up.is_set, journal)
    with pytest.raises(StudyError, match=r"storage s.db is locked by another program") as error:
        run_study(small, trials=6, name="s", storage="s.db", sampler="random")
    given_up.set()
    holder.join()
    assert len(str(error.value).splitlines()) == 1
    assert len(run_study(small, trials=5, name="s", storage="s.db").frame()) == 5


def make_space_objective(objective):
    import dataclasses

    space = objective.space.model_copy(
        update={"formats": (WeightFormat.FP32, WeightFormat.W4), "groups": "tied"}
    )
    return dataclasses.replace(objective.with_target_ms(1e9), space=space)


def test_a_full_disk_is_one_line(objective):
    small = make_space_objective(objective)
    run_study(small, trials=2, name="s", storage="s.db", sampler="random")
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    def limit(connection, _record):
        connection.execute("PRAGMA max_page_count = 1")  # SQLite then says that the disk is full

    event.listen(Engine, "connect", limit)
    try:
        with pytest.raises(StudyError, match=r"cannot be written: .*disk is full; make room"):
            run_study(small, trials=200, name="s", storage="s.db", sampler="random")
    finally:
        event.remove(Engine, "connect", limit)


def test_a_place_is_shown_without_its_password():
    assert StudyLocation.of("postgresql://u:s3cret@h/d").shown == "postgresql://u:***@h/d"
