"""The header of a GGUF file: its metadata, and where each tensor lies. No weight is read.

Its layout, by ggml's ``docs/gguf.md``: magic, version, two counts, then keys with typed values, then a
name, sizes, type and offset a tensor, then the tensors' bytes. The package ``gguf`` has a reader too. It
makes views of numpy of each string and each token's type, which takes 8 s and 500 MB for a vocabulary of
Dream's size, where this takes .2 s and 30 MB; and it does not say what is wrong with a damaged file.
"""

from __future__ import annotations

import mmap
import re
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from hwsearch.denoisers.loading.json_fields import Fields
from hwsearch.errors import CheckpointError
from hwsearch.files import FileKind, open_plain
from hwsearch.files.kinds import GIB

#: A GGUF file, which is mapped and not read.
GGUF_FILE = FileKind("GGUF file", 4096 * GIB, CheckpointError)

MAGIC = b"GGUF"
VERSIONS = (2, 3)

#: Bytes that the place of each tensor is a multiple of, where the file does not say.
ALIGNMENT = 32

#: Types of values, by their number: numpy's name of one, little-endian.
_NUMBERS = {
    0: "<u1",
    1: "<i1",
    2: "<u2",
    3: "<i2",
    4: "<u4",
    5: "<i4",
    6: "<f4",
    7: "?",
    10: "<u8",
    11: "<i8",
    12: "<f8",
}
_UINT32, _TEXT, _LIST, _UINT64 = 4, 8, 9, 10

#: More dimensions than this no tensor has.
_MOST_DIMENSIONS = 4

#: More numbers than this no type puts into a byte.
_MOST_A_BYTE = 8

_PART = re.compile(r".+-\d{5}-of-\d{5}\.gguf")


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a GGUF file.

    Attributes:
        name: its name there.
        shape: its sizes, rows first as in torch; the file has them the other way round.
        kind: how it is stored, by ggml's number of the type.
        offset: its first byte, counted from the beginning of the file.
    """

    name: str
    shape: tuple[int, ...]
    kind: int
    offset: int


@dataclass(frozen=True)
class GgufHeader:
    """What a GGUF file says before its weights.

    Attributes:
        path: the file.
        metadata: values by key, such as ``general.architecture``.
        tensors: all tensors by name.
    """

    path: Path
    metadata: Fields
    tensors: Mapping[str, StoredTensor]


def read_header(path: Path) -> GgufHeader:
    """The header of a GGUF file.

    Raises:
        CheckpointError: it is none, damaged, cut off, a part of a model, or of a version that is not read.
    """
    if _PART.fullmatch(path.name):
        raise _split(path)
    with open_plain(path, GGUF_FILE) as file:
        magic = file.read(len(MAGIC))
        if magic != MAGIC:
            raise CheckpointError(f"{path} is not a GGUF file: it begins with {magic!r}")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _parsed(_Cursor(path, data, len(MAGIC)))


def _parsed(cursor: _Cursor) -> GgufHeader:
    version = cursor.number(_UINT32)
    if version not in VERSIONS:
        # a big-endian file has the version's bytes the other way round, and its blocks too
        raise cursor.error(f"GGUF version {version} is not read, only little-endian 2 and 3 are")
    tensors, keys = cursor.number(_UINT64), cursor.number(_UINT64)
    record: dict[str, Any] = {}
    for _ in range(keys):
        key = cursor.text()
        if key in record:
            raise cursor.error(f"it is damaged: key {key} is there twice")
        record[key] = cursor.value(cursor.number(_UINT32))
    fields = Fields(record, str(cursor.path))
    if fields.get("split.count") not in (None, 0, 1):
        raise _split(cursor.path)
    stored = [cursor.tensor() for _ in range(tensors)]
    alignment = fields.integer("general.alignment", ALIGNMENT)
    begin = -(-cursor.at // alignment) * alignment
    found = {t.name: StoredTensor(t.name, t.shape, t.kind, begin + t.offset) for t in stored}
    if len(found) < len(stored):
        raise cursor.error("it is damaged: two tensors have one name")
    return GgufHeader(cursor.path, fields, found)


def _split(path: Path) -> CheckpointError:
    return CheckpointError(
        f"{path} is one part of a split GGUF; join the parts "
        f"(llama-gguf-split --merge FIRST_PART whole.gguf) and give the whole"
    )


class _Cursor:
    """Reads values one after the other. All methods raise `CheckpointError` where the file ends early.

    Args:
        path: the file, for error messages.
        data: its bytes.
        at: the next byte to be read.
    """

    def __init__(self, path: Path, data: mmap.mmap, at: int) -> None:
        self.path, self.data, self.at = path, data, at

    def error(self, reason: str) -> CheckpointError:
        """An error that names the file."""
        return CheckpointError(f"{self.path}: {reason}")

    def value(self, kind: int) -> Any:
        """A value of a type of GGUF."""
        if kind == _TEXT:
            return self.text()
        if kind != _LIST:
            return self.number(kind)
        kind, count = self.number(_UINT32), self.number(_UINT64)
        if kind == _TEXT:
            return [self.text() for _ in range(count)]
        return self._numbers(kind, count).tolist()

    def number(self, kind: int) -> Any:
        """A number, or true or false."""
        (found,) = self._numbers(kind, 1)
        # 1e-5 is what was meant by the float32 nearest to it
        return float(str(found)) if kind == 6 else found.item()

    def text(self) -> str:
        """A text in UTF-8."""
        (length,) = struct.unpack("<Q", self._bytes(8))
        try:
            return self._bytes(length).decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(
                f"it is damaged: a text in it is not UTF-8 ({error.reason})"
            ) from error

    def tensor(self) -> StoredTensor:
        """Where a tensor lies, counted from the first one."""
        name, dimensions = self.text(), self.number(_UINT32)
        if not 1 <= dimensions <= _MOST_DIMENSIONS:
            raise self.error(f"it is damaged: tensor {name} has {dimensions} dimensions")
        shape = self._numbers(_UINT64, dimensions).tolist()
        if prod(shape) > _MOST_A_BYTE * len(self.data):
            raise self.error(
                f"it is damaged or cut off: tensor {name} of {shape[::-1]} cannot be in it"
            )
        return StoredTensor(name, tuple(shape[::-1]), self.number(_UINT32), self.number(_UINT64))

    def _numbers(self, kind: int, count: int) -> np.ndarray:
        if kind not in _NUMBERS:
            raise self.error(f"it is damaged, or newer than what is read: a value has type {kind}")
        number = np.dtype(_NUMBERS[kind])
        return np.frombuffer(self._bytes(count * number.itemsize), number)

    def _bytes(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise self.error(f"it is cut off: its header goes on after its {len(self.data)} bytes")
        found, self.at = self.data[self.at : end], end
        return found
