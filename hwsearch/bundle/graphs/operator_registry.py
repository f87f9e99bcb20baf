"""The exporter's registry of operators, made once a process.

`torch.onnx.export` makes it anew for each graph, which takes half of the time of a small one. The registry
is no part of torch's interface: where it has moved, graphs come out the same, and take longer.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def one_registry() -> Iterator[None]:
    """A context in which exports share one registry. None of ours adds operators to it."""
    owner = _owner()
    if owner is None:
        yield
        return
    made_anew = vars(owner)["from_torchlib"]
    owner.from_torchlib = staticmethod(_kept())
    try:
        yield
    finally:
        owner.from_torchlib = made_anew


def _owner() -> Any:
    """The class whose `from_torchlib` makes the registry; None where torch has none such."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:
        return None
    return ONNXRegistry if "from_torchlib" in vars(ONNXRegistry) else None


@functools.cache
def _kept() -> Callable[..., Any]:
    """What makes the registry, once for each version of the operators."""
    return functools.cache(_owner().from_torchlib)
