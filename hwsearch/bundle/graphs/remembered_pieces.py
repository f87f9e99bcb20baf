"""Traced pieces on disk: an export finds what another process traced before.

Tracing loads torch's exporter and takes a second or more a piece. What comes out depends on the piece, the
tracer and hwsearch's own code alone, so a piece is known by these. A file begins with the digest of what
follows it: half of a graph may read as a whole one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version

import onnx

from hwsearch.bundle.weights import Graph
from hwsearch.denoisers.caching.digest import code_digest, text_digest
from hwsearch.denoisers.caching.folder import cache_folder, write_whole
from hwsearch.errors import InputError
from hwsearch.files import FileKind, read_bytes
from hwsearch.files.kinds import MIB

#: A piece: nodes and a few constants.
_PIECE = FileKind("traced piece", MIB, InputError, "remove it: it is made again")

#: Packages that trace.
_TRACERS = ("torch", "onnx", "onnxscript")

#: Bytes of a digest.
_HEAD = hashlib.sha256().digest_size


def remembered_piece(parts: Sequence[object], make: Callable[[], Graph]) -> Graph:
    """A piece, from disk where it was traced before.

    Args:
        parts: all that it depends on beside code, as values whose `repr` says all of them.
        make: traces it. Large initializers that it keeps apart are parameters, which are names and shapes
            alone: their values are not kept.
    """
    key = text_digest(code_digest(), *map(version, _TRACERS), *map(repr, parts))
    path = cache_folder() / "pieces" / f"{key}.onnx"
    with suppress(InputError):
        kept = read_bytes(path, _PIECE)
        head, content = kept[:_HEAD], kept[_HEAD:]
        if hashlib.sha256(content).digest() == head:
            return Graph(onnx.ModelProto.FromString(content), {})
    content = make().model.SerializeToString(deterministic=True)
    write_whole(path, hashlib.sha256(content).digest() + content)
    return Graph(onnx.ModelProto.FromString(content), {})
