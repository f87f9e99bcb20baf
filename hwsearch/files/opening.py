"""Opening files that come from outside: plain files alone, no larger than their kind may be, in UTF-8.

A path may lead to what is no file at all: a pipe that nobody writes into, a device that never ends, a link to
itself. So a path is opened without waiting, and what was opened is asked what it is before a byte is read.
"""

from __future__ import annotations

import codecs
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from gzip import GzipFile
from io import BufferedReader
from pathlib import Path, PurePosixPath

from hwsearch.files.kinds import FileKind

#: What files begin with that are text in another encoding, or packed.
_FOREIGN = (
    (codecs.BOM_UTF32_LE, "is text in UTF-32; save it as UTF-8"),
    (codecs.BOM_UTF32_BE, "is text in UTF-32; save it as UTF-8"),
    (codecs.BOM_UTF16_LE, "is text in UTF-16; save it as UTF-8"),
    (codecs.BOM_UTF16_BE, "is text in UTF-16; save it as UTF-8"),
    (b"\x1f\x8b", "is packed by gzip; unpack it"),
    (b"PK\x03\x04", "is a ZIP archive; unpack it"),
    (b"\xfd7zXZ\0", "is packed by xz; unpack it"),
    (b"\x28\xb5\x2f\xfd", "is packed by Zstandard; unpack it"),
)

#: Bytes that are read of a file that says it has fewer.
_PIECE = 1 << 16

_NO_FILES = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


@contextmanager
def open_plain(path: Path | str, kind: FileKind) -> Iterator[BufferedReader]:
    """A plain file, open to read its bytes.

    Raises:
        HwsearchError: of the kind: there is no such file, it is no plain file, is larger than its kind may
            be, or reading it fails.
    """
    try:
        # a pipe would wait for who writes into it
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        raise _unreadable(path, kind, error) from error
    try:
        _check_status(path, kind, os.fstat(descriptor))
    except BaseException:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        try:
            yield file
        except OSError as error:
            raise _unreadable(path, kind, error) from error


def check_plain(path: Path | str, kind: FileKind) -> int:
    """The bytes of a plain file that a library is to open by its name. Raises as `open_plain`."""
    with open_plain(path, kind) as file:
        return os.fstat(file.fileno()).st_size


def read_bytes(path: Path | str, kind: FileKind) -> bytes:
    """All bytes of a plain file. Raises as `open_plain`."""
    with open_plain(path, kind) as file:
        content = read_limited(file, kind.most_bytes, os.fstat(file.fileno()).st_size)
    _check_size(path, kind, len(content))
    return content


def read_limited(file: BufferedReader | GzipFile, most: int, expected: int = 0) -> bytes:
    """All bytes of an open file, or one more than the most that it may have.

    Memory is asked for by what is expected and by what has come, and not by the most. Some files say that
    they are empty and are not.
    """
    parts: list[bytes] = []
    total, step = 0, max(expected + 1, _PIECE)
    while total <= most and (part := file.read(min(step, most + 1 - total))):
        parts.append(part)
        total += len(part)
        step = max(step, total)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def read_text(path: Path | str, kind: FileKind) -> str:
    """All text of a plain file in UTF-8, its byte order mark left out. Raises as `open_plain`."""
    return decoded(read_bytes(path, kind), path, kind)


def decoded(content: bytes, where: object, kind: FileKind) -> str:
    """Bytes as text, a byte order mark left out.

    Raises:
        HwsearchError: of the kind: they are not UTF-8; the message says what they are, or the line.
    """
    for mark, said in _FOREIGN:
        if content.startswith(mark):
            raise kind.error(f"{where}: a {kind.name} is text in UTF-8, and this {said}")
    try:
        return content.removeprefix(codecs.BOM_UTF8).decode("utf-8")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise kind.error(
            f"{where}: a {kind.name} is text in UTF-8, and byte 0x{error.object[error.start]:02x} in "
            f"line {line} is not; save the file as UTF-8"
        ) from error


def is_file(path: Path) -> bool:
    """Whether a path leads to a plain file; false for names that no file has."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def is_folder(path: Path) -> bool:
    """Whether a path leads to a folder; false for names that no folder has."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


def check_inside(folder: Path, name: str, kind: FileKind) -> Path:
    """The path of a file that another file of its folder names.

    Args:
        folder: where it lies.
        name: as it was named: relative, downwards, of parts that name files.
        kind: what it shall be.

    Raises:
        HwsearchError: of the kind: the name is absolute, leads upwards, or holds what no name does.
    """
    parts = PurePosixPath(name).parts
    if not parts or name.startswith("/") or ".." in parts or any(c in name for c in "\0\\:"):
        raise kind.refuse(
            folder,
            f"a {kind.name} must be named relative to its folder and inside it, got {name!r}",
        )
    return folder.joinpath(*parts)


def check_unlinked(path: Path, folder: Path, kind: FileKind) -> None:
    """Refuse a file that a symbolic link leads to, at any step from its folder on.

    Raises:
        HwsearchError: of the kind; the message names the link.
    """
    for part in (path, *path.parents):
        if part == folder:
            return
        try:
            linked = part.is_symlink()
        except (OSError, ValueError) as error:
            raise _unreadable(part, kind, error) from error
        if linked:
            raise kind.refuse(
                part, f"a {kind.name} must lie in its folder itself, and this is a link"
            )


def _check_status(path: Path | str, kind: FileKind, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        what = next((name for test, name in _NO_FILES if test(status.st_mode)), "no plain file")
        raise kind.refuse(path, f"a {kind.name} must be a plain file, and this is {what}")
    _check_size(path, kind, status.st_size)


def _check_size(path: Path | str, kind: FileKind, size: int) -> None:
    if size > kind.most_bytes:
        raise kind.refuse(
            path, f"a {kind.name} has at most {kind.most_bytes:,} bytes, and this has {size:,}"
        )


def _unreadable(path: Path | str, kind: FileKind, error: Exception) -> Exception:
    reason = getattr(error, "strerror", None) or error
    return kind.error(f"cannot read {kind.name} {path}: {reason}; {kind.fix}")
