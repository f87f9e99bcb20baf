"""What the exporter makes anew for each graph although it stays the same, made once.

The registry of its operators takes half of the time of a small graph; it is made once a process. Looking up
torch's operators, which is done for every namespace twice, is done once a graph. Garbage is collected after
a graph, not while it grows. Neither is part of torch's interface: where one has moved, graphs come out the
same, and take longer.
"""

from __future__ import annotations

import contextlib
import functools
import gc
from collections.abc import Callable, Iterator
from typing import Any

#: Makes torch look up all operators that it decomposes, in `torch._export.utils`.
_LOOK_UP = "_materialize_cpp_cia_ops"


@contextlib.contextmanager
def one_registry() -> Iterator[None]:
    """A context in which an export takes the shared registry, looks operators up once, and collects later.

    None of ours adds operators to the registry.
    """
    with contextlib.ExitStack() as stack:
        owner = _owner()
        if owner is not None:
            stack.enter_context(_instead(owner, "from_torchlib", staticmethod(_kept())))
        finder = _finder()
        if finder is not None:
            look_up = functools.cache(vars(finder)[_LOOK_UP])
            stack.enter_context(_instead(finder, _LOOK_UP, look_up))
        stack.enter_context(_collecting_later())
        yield


@contextlib.contextmanager
def _instead(owner: Any, name: str, value: object) -> Iterator[None]:
    found = vars(owner)[name]
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, found)


@contextlib.contextmanager
def _collecting_later() -> Iterator[None]:
    """No garbage is looked for: an export makes a million objects, nearly all of which are in use."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def _owner() -> Any:
    """The class whose `from_torchlib` makes the registry; None where torch has none such."""
    try:
        from torch.onnx._internal.exporter._registration import ONNXRegistry
    except ImportError:
        return None
    return ONNXRegistry if "from_torchlib" in vars(ONNXRegistry) else None


def _finder() -> Any:
    """The module that looks up operators; None where torch has none such."""
    try:
        from torch._export import utils
    except ImportError:
        return None
    return utils if _LOOK_UP in vars(utils) else None


@functools.cache
def _kept() -> Callable[..., Any]:
    """What makes the registry, once for each version of the operators."""
    return functools.cache(_owner().from_torchlib)
