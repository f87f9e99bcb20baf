"""A folder for thousands of small files."""

import shutil

import pytest

from tests.hardening.places import in_memory


@pytest.fixture
def memory():
    """A folder in memory where there is such a place, gone when its test ends."""
    folder = in_memory()
    yield folder
    shutil.rmtree(folder)
