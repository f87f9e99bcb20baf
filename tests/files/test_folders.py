"""A folder is there whole or not at all, and two that are written at once do not meet."""

import os
import signal
import threading
from pathlib import Path

import pytest

from hwsearch.errors import InputError
from hwsearch.files import recover_folder, whole_folder
from hwsearch.files.folders import fresh_aside
from tests.killing import in_child


def test_a_folder_is_there_in_the_end_alone(tmp_path):
    place = tmp_path / "deep" / "place"
    with whole_folder(place) as fresh:
        (fresh / "file").write_text("x")
        assert not place.exists()
    assert (place / "file").read_text() == "x"
    assert list(place.parent.iterdir()) == [place]


def test_of_one_that_fails_nothing_stays(tmp_path):
    with pytest.raises(KeyError), whole_folder(tmp_path / "place") as fresh:
        (fresh / "file").write_text("x")
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_there_is_refused_replaced_or_kept(tmp_path):
    place = tmp_path / "place"
    with whole_folder(place) as fresh:
        (fresh / "file").write_text("first")
    with pytest.raises(InputError, match="exists already"), whole_folder(place):
        pytest.fail("nothing is written")
    with whole_folder(place, "keep") as fresh:
        (fresh / "file").write_text("second")
    assert (place / "file").read_text() == "first"
    with whole_folder(place, "replace") as fresh:
        (fresh / "other").write_text("third")
    assert [path.name for path in place.iterdir()] == ["other"]
    assert list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("if_there", ["refuse", "replace", "keep"])
def test_two_at_once_share_no_file(tmp_path, if_there):
    place, both, refused = tmp_path / "place", threading.Barrier(2), []

    def write(name):
        try:
            with whole_folder(place, if_there) as fresh:
                for part in range(20):
                    (fresh / f"{part}").write_text(name)
                both.wait(timeout=60)
        except (InputError, OSError) as error:
            refused.append(error)

    threads = [threading.Thread(target=write, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({path.read_text() for path in place.iterdir()}) == 1
    assert len(list(place.iterdir())) == 20
    assert list(tmp_path.iterdir()) == [place]
    assert len(refused) == (1 if if_there == "refuse" else 0) or if_there == "replace"


def left_by_a_killed_one(place, *, moved_aside):
    """Kill a writer that has finished a folder; it may have moved the older one aside."""

    def write():
        with whole_folder(place, "replace") as fresh:
            (fresh / "file").write_text("new")
            if moved_aside:
                place.rename(fresh.parent / "replaced")
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(write) == -signal.SIGKILL


@pytest.mark.parametrize("moved_aside", [False, True])
def test_what_a_killed_one_left_is_tidied_up_and_nothing_is_lost(tmp_path, moved_aside):
    place = tmp_path / "[1].place"
    with whole_folder(place) as fresh:
        (fresh / "file").write_text("old")
    left_by_a_killed_one(place, moved_aside=moved_aside)
    assert len(list(tmp_path.iterdir())) == (1 if moved_aside else 2)
    recover_folder(place)
    assert list(tmp_path.iterdir()) == [place]
    assert (place / "file").read_text() == ("new" if moved_aside else "old")


def test_what_is_being_written_is_left_alone(tmp_path):
    place = tmp_path / "place"
    with whole_folder(place) as fresh:
        recover_folder(place)
        assert fresh.is_dir()
    with fresh_aside(tmp_path, ".making-") as one, fresh_aside(tmp_path, ".making-") as other:
        assert one != other and one.is_dir()


def test_ctrl_c_between_two_moves_leaves_the_old_one(tmp_path, monkeypatch):
    place = tmp_path / "place"
    with whole_folder(place) as fresh:
        (fresh / "file").write_text("old")
    rename = Path.rename

    def interrupted(path, target):
        if Path(target) == place and path.parent != place.parent and path.name != "replaced":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt), whole_folder(place, "replace") as fresh:
        (fresh / "file").write_text("new")
    assert (place / "file").read_text() == "old"
    assert list(tmp_path.iterdir()) == [place]
