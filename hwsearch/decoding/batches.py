"""What a generation is given on both sides of its blank, and what can be decoded together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Blank:
    """The positions of a sequence that a generation writes; all others are given.

    Attributes:
        start: the first of them: tokens of the prompt.
        stop: position after the last, where the suffix begins.

    >>> list("abcdef"[Blank(2, 5).place])
    ['c', 'd', 'e']
    """

    start: int
    stop: int

    @property
    def place(self) -> slice:
        """The blank as an index."""
        return slice(self.start, self.stop)


@dataclass(frozen=True)
class Given:
    """Tokens that stand on both sides of a blank.

    Attributes:
        prompt: tokens before it.
        suffix: tokens behind it; none where text is written to the end.

    >>> Given((1, 2), (9,)).around([0, 0, 0])
    [1, 2, 0, 0, 0, 9]
    """

    prompt: tuple[int, ...]
    suffix: tuple[int, ...] = ()

    @classmethod
    def of(cls, prompt: Prompt) -> Given:
        """A prompt's tokens as they are given."""
        return prompt if isinstance(prompt, Given) else cls(tuple(prompt))

    def __len__(self) -> int:
        return len(self.prompt) + len(self.suffix)

    def blank(self, length: int) -> Blank:
        """The blank of so many tokens between them."""
        return Blank(len(self.prompt), len(self.prompt) + length)

    def around(self, tokens: Sequence[int]) -> list[int]:
        """The whole sequence, with some tokens in the blank."""
        return [*self.prompt, *tokens, *self.suffix]


#: What a generation may be given: tokens that it goes on from, or those on both sides of a blank.
Prompt = Sequence[int] | Given


@dataclass(frozen=True, eq=False)
class PromptBatch:
    """Prompts of one length, with suffixes of one length.

    Attributes:
        indices: their places among all prompts.
        prompts: ``[batch, prompt_length]``.
        suffixes: ``[batch, suffix_length]``.
    """

    indices: list[int]
    prompts: NDArray[np.int64]
    suffixes: NDArray[np.int64]

    @property
    def given_length(self) -> int:
        """Tokens of a sequence that are given."""
        return self.prompts.shape[1] + self.suffixes.shape[1]

    def around(self, tokens: NDArray[np.int64]) -> NDArray[np.int64]:
        """The whole sequences, with tokens ``[batch, count]`` in their blanks."""
        return np.concatenate((self.prompts, tokens, self.suffixes), axis=1)


def batches_of_equal_length(prompts: Sequence[Prompt], batch: int) -> Iterator[PromptBatch]:
    """The groups of `groups_of_equal_length` with their tokens, so that nothing is padded."""
    given = [Given.of(prompt) for prompt in prompts]
    for group in groups_of_equal_length(given, batch):
        yield PromptBatch(
            group,
            np.array([given[index].prompt for index in group], dtype=np.int64),
            np.array([given[index].suffix for index in group], dtype=np.int64),
        )


def groups_of_equal_length(prompts: Sequence[Prompt], batch: int) -> Iterator[list[int]]:
    """Indices of prompts whose blanks lie alike, at most `batch` together, shortest prompts first.

    Prompts of one length have suffixes of one length, too.
    """
    lengths = [_lengths(prompt) for prompt in prompts]
    group: list[int] = []
    for index in sorted(range(len(prompts)), key=lengths.__getitem__):
        if group and (len(group) == batch or lengths[group[0]] != lengths[index]):
            yield group
            group = []
        group.append(index)
    if group:
        yield group


def _lengths(prompt: Prompt) -> tuple[int, int]:
    """Tokens of a prompt, and of its suffix."""
    if isinstance(prompt, Given):
        return len(prompt.prompt), len(prompt.suffix)
    return len(prompt), 0
