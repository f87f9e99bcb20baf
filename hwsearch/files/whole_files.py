"""Files of a folder that are there whole or not at all, whatever ends their writer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hwsearch.files.folders import LOCK, fresh_aside

#: How folders are called that files are written in.
_WRITING = ".writing-"


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
    with fresh_aside(folder, _WRITING) as fresh:
        yield fresh
        for path in sorted(fresh.iterdir()):
            if path.name != LOCK:
                path.replace(folder / path.name)
