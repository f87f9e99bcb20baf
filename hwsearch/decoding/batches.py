"""Which prompts can be decoded together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def groups_of_equal_length(prompts: Sequence[Sequence[int]], batch: int) -> Iterator[list[int]]:
    """Indices of prompts of one length, at most `batch` together, shortest prompts first."""
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    group: list[int] = []
    for index in order:
        if group and (len(group) == batch or len(prompts[group[0]]) != len(prompts[index])):
            yield group
            group = []
        group.append(index)
    if group:
        yield group
