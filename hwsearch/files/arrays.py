"""numpy's files from outside: no pickle, and no memory is asked for that the file does not fill.

A header of 128 bytes may say 10^18 numbers, and a compressed member may unpack to whatever its makers liked.
So headers are read first, and what they say is held against the bytes that are there.
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from hwsearch.files.kinds import FileKind
from hwsearch.files.opening import check_plain, open_plain
from hwsearch.files.refusals import quoted

_VERSIONS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}

#: What numpy and zipfile raise of a file that is damaged.
_DAMAGED = (
    ValueError, TypeError, KeyError, EOFError, OverflowError, NotImplementedError, RuntimeError,
    SyntaxError, struct.error, tokenize.TokenError,
)  # fmt: skip
_PACKED = (zipfile.BadZipFile, zlib.error)

#: More members no archive has that is read.
_MOST_MEMBERS = 256


def read_npz(path: Path, kind: FileKind) -> dict[str, NDArray[Any]]:
    """All arrays of an .npz archive; together, unpacked, no larger than `kind` may be.

    Raises:
        HwsearchError: of the kind: it cannot be read, is damaged, holds objects, two arrays of one name,
            or more than the bytes that it says.
    """
    with open_plain(path, kind) as file:
        try:
            return _members(file, kind)
        except (*_DAMAGED, *_PACKED) as error:
            raise kind.refuse(path, f"not an archive of arrays ({quoted(error)})") from error


def map_npy(path: Path, kind: FileKind) -> NDArray[Any]:
    """The array of an .npy file, mapped: read where it is looked at.

    Raises:
        HwsearchError: of the kind, as `read_npz`.
    """
    size = check_plain(path, kind)
    with open_plain(path, kind) as file:
        try:
            shape, fortran, dtype = _header(file)
            _check_filled(shape, dtype, size - file.tell())
            if 0 in shape:
                return np.empty(shape, dtype)
            at = file.tell()
            if fortran:
                return np.memmap(path, dtype, "r", at, shape[::-1]).transpose()
            return np.memmap(path, dtype, "r", at, shape)
        except _DAMAGED as error:
            raise kind.refuse(path, f"not an array ({quoted(error)})") from error


def map_bytes(path: Path, kind: FileKind) -> NDArray[np.uint8]:
    """All bytes of a file, mapped. Raises as `open_plain`."""
    size = check_plain(path, kind)
    return np.memmap(path, np.uint8, "r") if size else np.empty(0, np.uint8)


def _members(file: BinaryIO, kind: FileKind) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if len(members) > _MOST_MEMBERS:
            raise ValueError(f"{len(members)} members, and {_MOST_MEMBERS} are the most")
        if sum(one.file_size for one in members) > kind.most_bytes:
            raise ValueError(f"unpacked it is larger than {kind.most_bytes:,} bytes")
        for one in members:
            name = one.filename.removesuffix(".npy")
            if name in found:
                raise ValueError(f"array {name!r} is there twice")
            with archive.open(one) as member:
                found[name] = _array(member, one.file_size)  # type: ignore[arg-type]
    return found


def _array(member: BinaryIO, size: int) -> NDArray[Any]:
    shape, fortran, dtype = _header(member)
    nbytes = _check_filled(shape, dtype, size - member.tell())
    content = member.read(nbytes + 1)
    if len(content) != nbytes:
        raise ValueError(f"it holds {len(content):,} bytes of {nbytes:,}")
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")
    return array.copy()


def _header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in _VERSIONS:
        raise ValueError(f"version {version} is not read")
    shape, fortran, dtype = _VERSIONS[version](file)
    if dtype.hasobject or dtype.itemsize == 0 or dtype.names is not None:
        raise ValueError(f"numbers are read, and it holds {dtype}")
    if any(size < 0 for size in shape) or len(shape) > 8:
        raise ValueError(f"no array has the shape {shape}")
    return shape, fortran, dtype


def _check_filled(shape: tuple[int, ...], dtype: np.dtype[Any], there: int) -> int:
    """The bytes of an array. Raises `ValueError` where there are others than its header says."""
    nbytes = prod(shape) * dtype.itemsize
    if nbytes != there:
        raise ValueError(f"shape {list(shape)} of {dtype} takes {nbytes} bytes, there are {there}")
    return nbytes
