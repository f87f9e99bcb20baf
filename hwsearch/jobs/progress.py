"""How a job shows its progress without knowing where it is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable

#: Given a description, wraps a sequence of numbers so that going through it is shown.
Tracked = Callable[[str], Callable[[Iterable[int]], Iterable[int]]]


def silent(text: str) -> None:
    """Says nothing."""


def untracked(description: str) -> Callable[[Iterable[int]], Iterable[int]]:
    """Shows nothing."""
    return iter
