"""Files of a folder that are there whole or not at all, whatever ends their writer."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

#: How folders are called that files are written in, and the lock in them that tells who is at it.
_WRITING, _LOCK = ".writing-", ".lock"


@contextmanager
def whole_files(folder: Path) -> Iterator[Path]:
    """A new folder to write files into, each of which takes its place in `folder` in the end.

    What is there under the same names is replaced, and all else is left alone. Where writing fails,
    nothing changes. What a killed writer left is removed by the next.

    Args:
        folder: made if it is not there; so are its parents.

    Raises:
        OSError: it cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _sweep(folder)
    with tempfile.TemporaryDirectory(dir=folder, prefix=_WRITING) as made:
        fresh = Path(made)
        with FileLock(fresh / _LOCK).acquire(blocking=False):
            yield fresh
            for path in sorted(fresh.iterdir()):
                if path.name != _LOCK:
                    path.replace(folder / path.name)


def _sweep(folder: Path) -> None:
    """Remove what killed writers left: their locks are free."""
    for left in folder.glob(f"{_WRITING}*"):
        with suppress(Timeout, OSError), FileLock(left / _LOCK).acquire(blocking=False):
            shutil.rmtree(left, ignore_errors=True)
