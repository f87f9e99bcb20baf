"""What a reader of the hardening tests is: a seed that the product itself wrote, and what reads it."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.hardening import mutators

ROOT = Path(__file__).parents[2]

#: Memory that is a folder: files are written thousands of times.
_MEMORY = Path("/dev/shm")

_SEEDS: dict[str, Path] = {}


class Place:
    """Writes a file of a folder anew, the others as they are."""

    def __init__(self, path, given=None):
        self.path, self.given = path, given or path
        self.content = path.read_bytes()

    def __call__(self, content):
        self.path.write_bytes(content)
        return self.given


@dataclass(frozen=True)
class Reader:
    """A reader.

    Attributes:
        place: makes its seed in a folder, and says where it lies.
        read: reads it.
        mutators: how it is changed.
        share: of the inputs that it takes by default, where each takes long; `make harden` gives it all.
    """

    place: Callable[[Path], Place]
    read: Callable[[Path], object]
    mutators: tuple = mutators.TEXT
    share: float = 1.0


def text(name, content):
    """A file of a given text, or of what a function makes of none."""

    def place(folder):
        said = content() if callable(content) else content
        (folder / name).write_text(said, encoding="utf-8")
        return Place(folder / name)

    return place


def seed(name, make):
    """A folder that is made once a process, since models and bundles take a second."""
    if name not in _SEEDS:
        _SEEDS[name] = in_memory()
        make(_SEEDS[name])
    return _SEEDS[name]


def in_memory():
    """A folder in memory where there is such a place, gone when the process ends."""
    base = _MEMORY if _MEMORY.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="hwsearch-hardening-", dir=base))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
