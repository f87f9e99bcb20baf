"""Every reader takes thousands of changed files, and answers or refuses each in a line of its own.

Readers that take long take a share of them; `make harden` gives all of them to every reader.
`HWSEARCH_MUTATED` sets another number.
"""

import os

import pytest

from tests.hardening.harness import faults
from tests.hardening.readers import READERS
from tests.hardening.studies import STUDIES

#: Inputs of a reader.
COUNT = 2000


def count_of(share):
    """Inputs of a reader that takes a share of them by default."""
    told = os.environ.get("HWSEARCH_MUTATED")
    return int(COUNT * share) if told is None else int(told)


@pytest.mark.parametrize("name", READERS)
def test_changed_files_are_read_or_refused(memory, name):
    reader = READERS[name]
    place = reader.place(memory)
    reader.read(place(place.content))  # as it was written it is read
    found = faults(place, reader.read, reader.mutators, count_of(reader.share))
    assert found == {}


@pytest.mark.parametrize("name", [name for name in READERS if name not in STUDIES])
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
