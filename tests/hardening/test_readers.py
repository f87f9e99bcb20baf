"""Every reader takes hundreds of changed files, and answers or refuses each in a line of its own.

`HWSEARCH_MUTATED` sets another number of them a reader, such as 2000.
"""

import os

import pytest

from tests.hardening.harness import faults
from tests.hardening.readers import READERS

COUNT = int(os.environ.get("HWSEARCH_MUTATED", "300"))


@pytest.mark.parametrize("name", READERS)
def test_changed_files_are_read_or_refused(tmp_path, name):
    reader = READERS[name]
    place = reader.place(tmp_path)
    reader.read(place(place.content))  # as it was written it is read
    found = faults(place, reader.read, reader.mutators, COUNT)
    assert found == {}


@pytest.mark.parametrize("name", READERS)
def test_what_is_no_file_is_refused(tmp_path, name):
    from hwsearch.errors import HwsearchError

    reader = READERS[name]
    place = reader.place(tmp_path)
    for put in (os.mkfifo, os.mkdir, to_itself, zeros):
        place.path.unlink(missing_ok=True)
        put(place.path)
        with pytest.raises(HwsearchError):
            reader.read(place.given)
        place.path.rmdir() if place.path.is_dir() else place.path.unlink()


def zeros(path):
    path.symlink_to("/dev/zero")


def to_itself(path):
    path.symlink_to(path)
