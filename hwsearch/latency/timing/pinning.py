"""Keep a timed process on as many processors as it has threads, where the system allows it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pinned(threads: int) -> Iterator[None]:
    """Run on the last `threads` processors that this process may use; elsewhere do nothing.

    The last, because the first tends to serve the system's interrupts.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(before)[-threads:])
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)
