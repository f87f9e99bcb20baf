"""Progress of long work: who does it says how far it is, and who runs it decides where that is shown.

Nothing is shown until `showing` says where. So work deep inside a search need not be handed a bar.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeVar

ItemT = TypeVar("ItemT")

#: Called with how much more of a piece of work is done.
Advance = Callable[[float], None]

#: Shows a piece of work: given what it is and how much there is to do, a context that gives `Advance`.
Show = Callable[[str, float], AbstractContextManager[Advance]]


def _nothing(_done: float) -> None:
    """Shows nothing."""


_SHOW: ContextVar[Show | None] = ContextVar("show", default=None)


@contextmanager
def showing(show: Show) -> Iterator[None]:
    """Show all work that is begun meanwhile."""
    token = _SHOW.set(show)
    try:
        yield
    finally:
        _SHOW.reset(token)


def work(description: str, total: float) -> AbstractContextManager[Advance]:
    """A piece of work, as a context that gives what is to be called as it gets on.

    Args:
        description: what is done, in the present: ``reading weights``.
        total: how much there is to do, in any unit.

    >>> with work("counting", 3) as advance:
    ...     advance(1)
    """
    show = _SHOW.get()
    return nullcontext(_nothing) if show is None else show(description, total)


def silent(_text: str) -> None:
    """Says nothing."""


def shown(description: str) -> Callable[[Iterable[int]], Iterator[int]]:
    """Wraps numbers so that going through them is shown as work.

    >>> list(shown("counting")(range(2)))
    [0, 1]
    """

    def wrap(numbers: Iterable[int]) -> Iterator[int]:
        listed = list(numbers)
        return each(listed, description, len(listed))

    return wrap


def each(
    items: Iterable[ItemT],
    description: str,
    total: float,
    size: Callable[[ItemT], float] = lambda _item: 1.0,
) -> Generator[ItemT]:
    """Items in turn; each is done when the next is asked for.

    Args:
        items: what is gone through.
        description: as `work` takes it.
        total: the sum of all sizes.
        size: how much there is to do for an item.

    >>> list(each([1, 2], "counting", 2))
    [1, 2]
    """
    with work(description, total) as advance:
        for item in items:
            yield item
            advance(size(item))
