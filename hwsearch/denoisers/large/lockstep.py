"""Passes that stop before each layer, so that several can go through a network side by side.

A layer whose weights stay in a file, or are codes, must become floats before it runs. Side by side, that is
done once for all passes, and one layer's floats are in memory at a time.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TypeVar

from torch import nn

from hwsearch.formats.linears.stored_linear import CodedLinear, StoredLinear

ResultT = TypeVar("ResultT")

#: A pass that tells each module, layer by layer, before it runs it.
Pass = Generator[nn.Module, None, ResultT]


def run_through(one: Pass[ResultT]) -> ResultT:
    """What a pass gives, run from its beginning to its end."""
    while True:
        try:
            next(one)
        except StopIteration as end:
            result: ResultT = end.value
            return result


def in_step(passes: Sequence[Pass[ResultT]]) -> list[ResultT]:
    """What passes through one network give, run layer by layer."""
    results: dict[int, ResultT] = {}
    running = dict(enumerate(passes))
    ahead: nn.Module | None = None
    while running:
        with ExitStack() as stack:
            if ahead is not None:
                stack.enter_context(as_floats(ahead))
            for index, one in list(running.items()):
                try:
                    ahead = next(one)
                except StopIteration as end:
                    results[index] = end.value
                    del running[index]
    return [results[index] for index in range(len(passes))]


@contextmanager
def as_floats(module: nn.Module) -> Iterator[None]:
    """Hold the weights of a module as floats for a while."""
    linears = [one for one in module.modules() if isinstance(one, StoredLinear | CodedLinear)]
    for linear in linears:
        linear.hold()
    try:
        yield
    finally:
        for linear in linears:
            linear.release()


def is_large(network: nn.Module) -> bool:
    """Whether a network's weights stay in their files."""
    return any(isinstance(one, StoredLinear | CodedLinear) for one in network.modules())
