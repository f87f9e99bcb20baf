"""The folder of what hwsearch can make again."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from hwsearch.errors import InputError
from hwsearch.files import FileKind
from hwsearch.files.kinds import GIB, MIB

#: A file of it. Caches of large models are as large as these.
CACHED_FILE = FileKind("cached file", 1024 * GIB, InputError, "remove it: it is made again")

#: A small one, which is read whole: reading takes memory for as many bytes as a kind allows.
CACHED_TEXT = FileKind("cached text", MIB, InputError, "remove it: it is made again")

#: The environment's variable for it.
CACHE_VARIABLE = "HWSEARCH_CACHE"


def cache_folder() -> Path:
    """Where hwsearch keeps what it can make again; `CACHE_VARIABLE` names another folder."""
    return Path(os.environ.get(CACHE_VARIABLE, Path.home() / ".cache" / "hwsearch"))


def write_whole(path: Path, content: bytes) -> None:
    """Keep a small file, whole or not at all; a disk that is full, or may not be written, keeps none."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".making-{os.getpid()}")
        fresh.write_bytes(content)
        fresh.replace(path)
