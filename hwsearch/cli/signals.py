"""Ctrl-C and requests to end, at whatever moment they come: one line, and an exit code of their own.

A signal is raised as an exception, so that files which are being written are removed and a trial is freed.
Libraries may swallow that, or raise something else in its place; that a signal came is known anyway.
"""

from __future__ import annotations

import atexit
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: What ends a process in order, where the system knows it.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")

#: Exit codes by convention: 128 and the number of the signal.
SIGNALLED = 128

#: Seconds until a signal that was dropped is raised once more.
AGAIN_S = 0.01


class Ended(KeyboardInterrupt):
    """A signal that asks this process to end."""


class Signals:
    """Signals that came."""

    def __init__(self) -> None:
        self.number: int | None = None

    def handle(self, number: int, _frame: FrameType | None) -> None:
        """Raise a signal as an exception."""
        self.number = number
        raise Ended

    @property
    def code(self) -> int:
        """The exit code after what came; that of Ctrl-C where nothing did."""
        return SIGNALLED + (signal.SIGINT if self.number is None else self.number)

    @property
    def line(self) -> str:
        """What a user is told."""
        by_user = self.number in (None, signal.SIGINT)
        return "interrupted" if by_user else "ended by a signal"


@contextmanager
def raised_signals() -> Iterator[Signals]:
    """Raise signals as exceptions meanwhile; those that somebody ignores or handles are left alone."""
    signals, hook = Signals(), sys.unraisablehook
    if threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def again(unraisable: Any) -> None:
        # Python drops what is raised where an object is freed, so it is raised once more soon
        if unraisable.exc_type is not None and issubclass(unraisable.exc_type, Ended):
            number = signals.number or signal.SIGINT
            threading.Timer(AGAIN_S, signal.raise_signal, (number,)).start()
        else:
            hook(unraisable)

    usual = (signal.SIG_DFL, signal.default_int_handler)
    numbers = [getattr(signal, name) for name in NAMES if hasattr(signal, name)]
    before = {number: signal.getsignal(number) for number in numbers}
    mine = [number for number in numbers if before[number] in usual]
    for number in mine:
        signal.signal(number, signals.handle)
    sys.unraisablehook = again
    try:
        yield signals
    finally:
        sys.unraisablehook = hook
        for number in mine:
            signal.signal(number, before[number])
        # from here on there is nothing left to be tidied up
        atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
