"""The folder of what hwsearch can make again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The environment's variable for it.
CACHE_VARIABLE = "HWSEARCH_CACHE"


def cache_folder() -> Path:
    """Where hwsearch keeps what it can make again; `CACHE_VARIABLE` names another folder."""
    return Path(os.environ.get(CACHE_VARIABLE, Path.home() / ".cache" / "hwsearch"))


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which becomes `folder` in the end, whole or not at all.

    Where another process was quicker, its folder stays.

    Raises:
        OSError: it cannot be written.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".making-"))
    try:
        yield fresh
        fresh.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
