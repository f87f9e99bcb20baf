"""Folders that are there whole or not at all, however many processes write them at once."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from hwsearch.errors import InputError

#: What becomes of a folder that is there already: ``refuse`` keeps it and raises, ``replace`` puts the
#: new one in its place, ``keep`` forgets the new one, as where both hold the same.
IfThere = Literal["refuse", "replace", "keep"]


@contextmanager
def whole_folder(folder: Path, if_there: IfThere = "refuse") -> Iterator[Path]:
    """A new folder to write into, which becomes `folder` in the end.

    Each call has a folder of its own beside it, so two that write the same at once do not meet. Of one that
    fails nothing stays.

    Args:
        folder: to be made; so are its parents.
        if_there: what becomes of one that is there, before or in the end.

    Raises:
        InputError: it is there, and shall stay.
        OSError: it cannot be written.
    """
    if if_there == "refuse":
        _refuse(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name[:40]}."))
    try:
        fresh = aside / folder.name
        fresh.mkdir()
        yield fresh
        _put(fresh, folder, if_there)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _put(fresh: Path, folder: Path, if_there: IfThere) -> None:
    """Move a finished folder to its place; a rename never merges two folders that hold files."""
    if if_there == "refuse":
        _refuse(folder)
    replaced = fresh.parent / "replaced"
    if if_there == "replace" and folder.exists():
        folder.rename(replaced)
    try:
        fresh.rename(folder)
    except OSError:
        if if_there == "keep" and folder.is_dir():
            return
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        if if_there == "refuse":
            _refuse(folder)
        raise


def _refuse(folder: Path) -> None:
    if folder.exists() or folder.is_symlink():
        raise InputError(f"{folder} exists already; give another folder, or remove it")
