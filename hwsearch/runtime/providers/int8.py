"""Exact products with int8 weights, on processors whose quick ones are not."""

from __future__ import annotations

import platform
from functools import cache
from pathlib import Path

import onnxruntime as ort

from hwsearch.files import read_bytes, read_text
from hwsearch.files.kinds import SYSTEM_FILE
from hwsearch.runtime.guards.graph_file import GRAPH_FILE

#: Makes onnxruntime use exact products with int8 weights where an x86 CPU has no VNNI and its quick
#: ones would saturate. It takes longer, and graphs that say `PAIRED` are exact without it.
_EXACT_INT8 = ("session.x64quantprecision", "1")

#: Key in the metadata of graphs whose int8 weights overflow nowhere (`hwsearch.formats.w8a8`). Earlier
#: ones hold uint8 weights, to which the option means nothing, and before that int8 ones that need it.
PAIRED = "hwsearch.paired_int8"

_CPUINFO = Path("/proc/cpuinfo")


def exact_int8(options: ort.SessionOptions, graph: Path | bytes) -> None:
    """Make a session's int8 products exact, where they would not be."""
    if _int8_saturates() and not _is_paired(graph):
        options.add_session_config_entry(*_EXACT_INT8)


def _is_paired(graph: Path | bytes) -> bool:
    """Whether a graph's metadata says `PAIRED`; looked for in its bytes, to parse nothing."""
    return PAIRED.encode() in (graph if isinstance(graph, bytes) else read_bytes(graph, GRAPH_FILE))


@cache
def _int8_saturates() -> bool:
    """Whether this CPU's quick products with int8 weights lose carries: x86 without VNNI."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    return not (_CPUINFO.is_file() and "vnni" in read_text(_CPUINFO, SYSTEM_FILE))
