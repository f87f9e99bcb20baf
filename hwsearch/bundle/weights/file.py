"""One file for the weights of all graphs of a bundle, written piece by piece, with its checksum on the way.

The graphs point into it (ONNX's external data), and onnxruntime maps it into memory. Each array is
written once, however many graphs hold it. A journal beside the file says which arrays are whole, so a
run that was killed goes on after the last of them.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Annotated, Self

import numpy as np
import onnx
from onnx import external_data_helper
from pydantic import Field, TypeAdapter, ValidationError

from hwsearch.bundle.weights.graph import Graph
from hwsearch.bundle.weights.weight import Weight, WeightGroup
from hwsearch.errors import InputError
from hwsearch.files import FileKind, parse_json, read_text
from hwsearch.formats.weight_format import Spec
from hwsearch.progress import work

#: Where an array begins: large ones on a page of memory, small ones on a line of the cache.
_PAGE, _LINE = 4096, 64

#: Bytes that are read back at once for checksums.
_READ = 16 << 20


#: A number of bytes, or of the first of some.
Bytes = Annotated[int, Field(strict=True, ge=0, le=1 << 50)]


@dataclass(frozen=True)
class Region:
    """Where an array lies.

    Attributes:
        offset, nbytes: its bytes.
        sha256: their checksum.
    """

    offset: Bytes
    nbytes: Bytes
    sha256: str

    @property
    def end(self) -> int:
        """The byte after it."""
        return self.offset + self.nbytes


class WeightsFile:
    """Writes arrays one after the other, each distinct one once. A context manager.

    Args:
        path: the file to write; graphs that point into it must lie in its folder.
        journal: where whole arrays are noted; one that is there is gone on from. None notes nothing.
    """

    def __init__(self, path: Path, journal: Path | None = None) -> None:
        self._path, self._journal = path, journal
        self._named = dict(_noted(journal))
        self._end = max((place.end for place in self._named.values()), default=0)
        if not path.exists() or path.stat().st_size < self._end:
            self._named, self._end = {}, 0
        self._distinct = {place.sha256: place for place in self._named.values()}
        self._file = path.open("r+b" if self._end else "w+b")
        self._file.truncate(self._end)
        self._whole, self._hashed = hashlib.sha256(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def sha256(self) -> str:
        """Checksum of the whole file, so far."""
        for piece in self._read(self._hashed, self._end):
            self._whole.update(piece)
        self._hashed = self._end
        return self._whole.hexdigest()

    def save(self, graph: Graph, path: Path) -> None:
        """Write a graph that points into this file. Raises `OSError` where the disk is full."""
        model = graph.copy().model
        held = [tensor for tensor in model.graph.initializer if tensor.name in graph.weights]
        total = sum(graph.weights[tensor.name].nbytes for tensor in held)
        with work(f"writing weights of {path.name}", total) as advance:
            for tensor in held:
                weight = graph.weights[tensor.name]
                place = self.write(tensor.name, weight)
                # the helper asks for data to move out; there is none any more
                tensor.raw_data = b""
                external_data_helper.set_external_data(
                    tensor, self._path.name, place.offset, place.nbytes
                )
                tensor.ClearField("raw_data")
                advance(weight.nbytes)
        onnx.save(model, path)

    def write(self, name: str, weight: Weight) -> Region:
        """Where an array is; written now, with its group, unless it is there.

        Args:
            name: by which a run that goes on knows it: the same array under the same name.
            weight: the array.
        """
        if name not in self._named:
            self._write_group(name, weight.group)
        return self._named[name]

    def _write_group(self, name: str, group: WeightGroup) -> None:
        names = {part: name if len(group.specs) == 1 else part for part in group.specs}
        arrays, offsets = {}, {}
        for part, spec in group.specs.items():
            offsets[part] = self._allocated(spec)
            arrays[part] = np.memmap(
                self._path, spec.dtype, "r+", offset=offsets[part], shape=spec.shape
            )
        group.fill(arrays)
        del arrays
        fresh = {}
        for part in reversed(list(group.specs)):
            found = Region(offsets[part], group.specs[part].nbytes, "")
            found = self._shared(Region(found.offset, found.nbytes, self._checksum(found)))
            fresh[names[part]] = found
        self._named |= fresh
        self._distinct |= {place.sha256: place for place in fresh.values()}
        if self._journal is not None:
            with self._journal.open("a", encoding="utf-8") as file:
                file.write(json.dumps({n: asdict(place) for n, place in fresh.items()}) + "\n")

    def _allocated(self, spec: Spec) -> int:
        """Offset of room for an array at the end of the file, which the disk has given."""
        # a page in front of a small array would be a noticeable share of it
        step = _PAGE if spec.nbytes >= 256 * _PAGE else _LINE
        offset = self._end + -self._end % step
        # a mapped write that finds no room would kill the process
        os.posix_fallocate(self._file.fileno(), offset, spec.nbytes)
        self._end = offset + spec.nbytes
        return offset

    def _shared(self, place: Region) -> Region:
        """A place with the same bytes that is there already, in which case the last one is given up."""
        known = self._distinct.get(place.sha256)
        if known is None:
            return place
        if place.end == self._end:
            self._end = place.offset
            self._file.truncate(self._end)
        return known

    def _checksum(self, place: Region) -> str:
        digest = hashlib.sha256()
        for piece in self._read(place.offset, place.end):
            digest.update(piece)
        return digest.hexdigest()

    def _read(self, start: int, stop: int) -> Iterator[bytes]:
        self._file.seek(start)
        while start < stop:
            piece = self._file.read(min(_READ, stop - start))
            start += len(piece)
            yield piece


_JOURNAL_FILE = FileKind("journal of an export", 1 << 30, fix="remove it")


#: A line of it.
_REGIONS: TypeAdapter[dict[str, Region]] = TypeAdapter(dict[str, Region])


def _noted(journal: Path | None) -> Iterator[tuple[str, Region]]:
    """Arrays that a journal says are whole; its last line may have been cut off."""
    if journal is None or not journal.exists():
        return
    for line in read_text(journal, _JOURNAL_FILE).split("\n"):
        try:
            regions = _REGIONS.validate_python(parse_json(line, journal, _JOURNAL_FILE))
        except (InputError, ValidationError):
            return
        yield from regions.items()
