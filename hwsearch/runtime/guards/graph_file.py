"""What a graph's file says before any session opens it: which files it points into, and what it would run.

A bundle that was changed can be sealed again, so its seal is no proof. A graph may then point at files
outside its folder, or hold a loop that never ends. Both stand in the bytes of the file, which are protobuf;
the few fields that matter are read here, since the package onnx is not needed to run a bundle.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hwsearch.errors import VerificationError
from hwsearch.files import FileKind, check_inside, read_bytes
from hwsearch.files.kinds import GIB

#: A graph of a bundle; protobuf reads none that is larger.
GRAPH_FILE: Final = FileKind("graph", 2 * GIB, VerificationError, "export the bundle again")

#: Fields of onnx.proto: of the model, the graph, a node, an attribute, a tensor and an entry.
_MODEL_GRAPH, _MODEL_FUNCTIONS = 7, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14
_ENTRY_KEY, _ENTRY_VALUE = 1, 2

#: Sets of operators whose kernels come with onnxruntime.
DOMAINS: Final = ("", "ai.onnx", "com.microsoft")

#: Wire types of protobuf, and the most bytes of a number in it.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MOST_VARINT = 10

#: No graph of a bundle has more nodes or weights.
MOST_PARTS: Final = 1_000_000


@dataclass(frozen=True)
class ExternalWeight:
    """Bytes of a weight in another file.

    Attributes:
        location: the file, as the graph names it.
        offset, nbytes: which of its bytes; None takes all to its end.
    """

    location: str
    offset: int
    nbytes: int | None


class _MalformedError(Exception):
    """No protobuf, or none of a graph of ours."""


def check_graph(path: Path, sizes: Mapping[str, int]) -> None:
    """See that a graph runs nothing but operators, on weights that lie in files of its bundle.

    Args:
        path: the graph.
        sizes: bytes of the files that its bundle lists, by name.

    Raises:
        VerificationError: it is no graph, holds graphs within it or operators of others, or points at
            bytes that are not in a file of the bundle.
    """
    content = memoryview(read_bytes(path, GRAPH_FILE))
    try:
        weights = list(_weights(content))
    except _MalformedError as error:
        raise GRAPH_FILE.refuse(path, error) from error
    for weight in weights:
        check_inside(path.parent, weight.location, GRAPH_FILE)
        size = sizes.get(weight.location)
        end = weight.offset + (weight.nbytes or 0)
        if size is None or not 0 <= weight.offset <= end <= size:
            raise GRAPH_FILE.refuse(
                path,
                f"it points at bytes {weight.offset} to {end} of {weight.location!r}, which are in no "
                "file of the bundle",
            )


def _weights(model: memoryview) -> Iterator[ExternalWeight]:
    """Weights in other files, of all graphs that a model's bytes hold."""
    graphs = 0
    for number, value in _fields(model):
        if number == _MODEL_FUNCTIONS:
            raise _MalformedError("it defines operators of its own")
        if number == _MODEL_GRAPH:
            graphs += 1
            yield from _graph_weights(_message(value))
    if not graphs:
        raise _MalformedError("it holds no graph")


def _graph_weights(graph: memoryview) -> Iterator[ExternalWeight]:
    for parts, (number, value) in enumerate(_fields(graph)):
        if parts > MOST_PARTS:
            raise _MalformedError(f"it has more than {MOST_PARTS:,} parts")
        if number == _GRAPH_SPARSE:
            raise _MalformedError("it holds sparse weights")
        if number == _GRAPH_INITIALIZER:
            yield from _external(_message(value))
        if number == _GRAPH_NODE:
            yield from _node_weights(_message(value))


def _node_weights(node: memoryview) -> Iterator[ExternalWeight]:
    for number, value in _fields(node):
        if number == _NODE_DOMAIN and _text(value) not in DOMAINS:
            raise _MalformedError(f"it runs an operator of {_text(value)!r}")
        if number != _NODE_ATTRIBUTE:
            continue
        for kind, inner in _fields(_message(value)):
            if kind in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                raise _MalformedError("it holds a graph within a node, such as a loop")
            if kind in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                yield from _external(_message(inner))


def _external(tensor: memoryview) -> Iterator[ExternalWeight]:
    """Where a tensor lies, if it lies elsewhere."""
    entries: dict[str, str] = {}
    elsewhere = False
    for number, value in _fields(tensor):
        if number == _TENSOR_LOCATION:
            elsewhere = value == 1
        if number == _TENSOR_EXTERNAL:
            entry = dict(_fields(_message(value)))
            entries[_text(entry.get(_ENTRY_KEY, b""))] = _text(entry.get(_ENTRY_VALUE, b""))
    if not elsewhere and not entries:
        return
    length = entries.get("length")
    yield ExternalWeight(
        entries.get("location", ""),
        _number(entries.get("offset", "0")),
        None if length is None else _number(length),
    )


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise _MalformedError(f"{text[:40]!r} is no number of bytes")
    return int(text)


def _text(value: int | memoryview | bytes) -> str:
    try:
        return bytes(_message(value)).decode("utf-8")
    except UnicodeDecodeError as error:
        raise _MalformedError("a name in it is not UTF-8") from error


def _message(value: int | memoryview | bytes) -> memoryview:
    if isinstance(value, int):
        raise _MalformedError("it is damaged: a number stands where a part should")
    return memoryview(value)


def _fields(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Numbers and values of a message's fields, in order."""
    at, end = 0, len(message)
    while at < end:
        tag, at = _varint(message, at)
        number, wire = tag >> 3, tag & 7
        if wire == _VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if wire == _BYTES:
            size, at = _varint(message, at)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise _MalformedError("it is damaged, or no ONNX graph")
        if size > end - at:
            raise _MalformedError("it is cut off")
        yield number, message[at : at + size]
        at += size


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    found = 0
    for place, byte in enumerate(message[at : at + _MOST_VARINT]):
        found |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return found, at + place + 1
    raise _MalformedError("it is cut off, or no ONNX graph")
