"""Folders that are there whole or not at all, however many processes write them at once."""

from __future__ import annotations

import glob
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from hwsearch.errors import InputError

if TYPE_CHECKING:
    from filelock import FileLock

#: What becomes of a folder that is there already: ``refuse`` keeps it and raises, ``replace`` puts the
#: new one in its place, ``keep`` forgets the new one, as where both hold the same.
IfThere = Literal["refuse", "replace", "keep"]

#: In a folder that is being written: the lock that its writer holds, and what it takes the place of.
LOCK, _REPLACED = ".lock", "replaced"

#: Tries to make a folder that somebody else, who tidies up just then, takes for a left one.
_TRIES = 10


@contextmanager
def whole_folder(folder: Path, if_there: IfThere = "refuse") -> Iterator[Path]:
    """A new folder to write into, which becomes `folder` in the end.

    Each call has a folder of its own beside it, so two that write the same at once do not meet. Of one that
    fails nothing stays, and what a killed one left is tidied up by the next; see `recover_folder`.

    Args:
        folder: to be made; so are its parents.
        if_there: what becomes of one that is there, before or in the end.

    Raises:
        InputError: it is there, and shall stay.
        OSError: it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(folder)
    if if_there == "refuse":
        refuse_existing(folder)
    with fresh_aside(folder.parent, _prefix(folder)) as aside:
        fresh = aside / folder.name
        fresh.mkdir()
        yield fresh
        _put(fresh, folder, if_there)


def recover_folder(folder: Path) -> None:
    """Remove what killed writers of a folder left beside it.

    One that was killed as it put a finished folder in the place of an older one had moved that aside: then
    the finished one is put there now. Who looks whether a folder is there calls this first.
    """
    for aside in _left_aside(folder.parent, _prefix(folder)):
        fresh, replaced = aside / folder.name, aside / _REPLACED
        if fresh.exists() and replaced.exists() and not folder.exists():
            with suppress(OSError):
                fresh.rename(folder)


@contextmanager
def fresh_aside(parent: Path, prefix: str) -> Iterator[Path]:
    """A folder of this process alone, gone in the end; its lock tells others that it is written.

    Those that killed processes left are removed.

    Args:
        parent: where to make it.
        prefix: how its name begins; whatever begins so may be removed as left over.

    Raises:
        OSError: it cannot be made.
    """
    for _ in _left_aside(parent, prefix):
        pass
    aside, lock = _locked(parent, prefix)
    try:
        yield aside
    finally:
        lock.release()
        shutil.rmtree(aside, ignore_errors=True)


def _left_aside(parent: Path, prefix: str) -> Iterator[Path]:
    """Folders that killed writers left; each is removed after its turn, with what is still in it."""
    from filelock import FileLock, Timeout  # slow to import

    for aside in parent.glob(f"{glob.escape(prefix)}*"):
        if not (aside / LOCK).exists():
            with suppress(OSError):
                aside.rmdir()  # killed before it was locked, so it is empty
            continue
        with suppress(Timeout, OSError), FileLock(aside / LOCK).acquire(blocking=False):
            yield aside
            shutil.rmtree(aside, ignore_errors=True)


def _prefix(folder: Path) -> str:
    return f".{folder.name}.making-"


def _locked(parent: Path, prefix: str) -> tuple[Path, FileLock]:
    """A new folder and its lock, which is held."""
    from filelock import FileLock, Timeout  # slow to import

    for _ in range(_TRIES):
        aside = Path(tempfile.mkdtemp(dir=parent, prefix=prefix))
        lock = FileLock(aside / LOCK)
        with suppress(Timeout, OSError):
            lock.acquire(blocking=False)
            if (aside / LOCK).exists():
                return aside, lock
            lock.release()
        shutil.rmtree(aside, ignore_errors=True)
    raise OSError(f"{parent}: no folder there could be locked")


def _put(fresh: Path, folder: Path, if_there: IfThere) -> None:
    """Move a finished folder to its place; a rename never merges two folders that hold files."""
    if if_there == "refuse":
        refuse_existing(folder)
    replaced = fresh.parent / _REPLACED
    try:
        if if_there == "replace" and folder.exists():
            folder.rename(replaced)
        fresh.rename(folder)
    except BaseException as error:  # a signal, too
        if if_there == "keep" and isinstance(error, OSError) and folder.is_dir():
            return
        if replaced.exists() and not folder.exists():
            replaced.rename(folder)
        if if_there == "refuse" and isinstance(error, OSError):
            refuse_existing(folder)
        raise


def refuse_existing(path: Path, overwrite: bool = False, instead: str = "another path") -> None:
    """Refuse to replace a file or folder unless that is asked for.

    Args:
        path: what would be written.
        overwrite: whether it may be replaced.
        instead: what else can be given.

    Raises:
        InputError: it is there; the message names the flag that replaces it.
    """
    if not overwrite and (path.exists() or path.is_symlink()):
        raise InputError(f"{path} exists already; give {instead}, or --overwrite to replace it")
