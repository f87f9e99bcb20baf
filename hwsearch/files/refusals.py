"""What libraries raise of files from outside, as one line of hwsearch's own.

Libraries written in C++ and Rust raise `RuntimeError`, `Exception` itself, or what derives from
`BaseException` alone. Whatever it is, the file is at fault where nothing but the file was given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from hwsearch.errors import HwsearchError
from hwsearch.files.kinds import FileKind

#: Longest line of a library that is quoted.
MOST = 300


@contextmanager
def refused_by(library: str, where: object, kind: FileKind) -> Iterator[None]:
    """Whatever a library raises of a file, as the kind's error; what it raised is its cause.

    Args:
        library: what messages call it.
        where: the file.
        kind: what it shall be.

    Raises:
        HwsearchError: of the kind, with the library's first words and the fix.
    """
    try:
        yield
    except (HwsearchError, MemoryError):
        raise
    except Exception as error:
        raise kind.refuse(where, f"{library} refuses it: {quoted(error)}") from error
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # of Rust: no Exception
            raise
        raise kind.refuse(where, f"{library} gives up: {quoted(error)}") from error


def quoted(error: BaseException) -> str:
    """What an error says, in one line of a length that can be read."""
    said = " ".join(str(error).split()).rstrip(".;") or type(error).__name__
    return said if len(said) <= MOST else f"{said[:MOST]}..."
