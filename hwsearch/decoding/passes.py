"""The passes of a generation: which kinds there are, and where each one reaches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from hwsearch.plan import Decoding

Tokens = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Scope:
    """The reach of one pass. A pass of a plain decoding takes `WHOLE`.

    Behind the last layer's attention a pass with another reach goes on with the rows alone that it
    predicts from: a third of an advance's work in that layer, and most of a refresh's.

    Attributes:
        rows: first position that a step runs and the one after the last, in the tokens it is given;
            None for the block's.
        store: whether the keys and values of a step's rows take their places in the cache; what was
            cached behind them stays where the sequence is as long as it was.
        positions: position of each token given, ``[length]``, where some of the sequence is left out;
            None where none is.
        tail: last positions of the sequence, which are seen however much before them is left out.
    """

    rows: tuple[int, int] | None = None
    store: bool = False
    positions: NDArray[np.int64] | None = None
    tail: int = 1


WHOLE: Final = Scope()


class PassKind(StrEnum):
    """What a pass does to the cache.

    ``refresh``  runs all visible positions and fills the cache.
    ``advance``  runs the block and what was written before it, and stores their keys and values.
    ``step``     runs the block and its window against the cache, and stores nothing.
    """

    REFRESH = "refresh"
    ADVANCE = "advance"
    STEP = "step"


@dataclass(frozen=True, order=True)
class PassShape:
    """All that the time of a pass depends on, but for the plan.

    Attributes:
        kind: what it does to the cache.
        rows: positions it runs.
        length: positions there are to attend to, run and cached ones, where no layer drops any.
        predicted: positions it predicts.
    """

    kind: PassKind
    rows: int
    length: int
    predicted: int


@dataclass(frozen=True)
class _Reach:
    """Which positions the passes over one block see and run.

    Attributes:
        start: first position of the block.
        stop: position after it.
        visible: positions that are seen from the first on.
        length: of the whole sequence.
        tail: its last positions, seen beside them; 0 where all are visible.
    """

    start: int
    stop: int
    visible: int
    length: int
    tail: int

    @classmethod
    def of(cls, decoding: Decoding, start: int, length: int, suffix_length: int) -> _Reach:
        """That of a block of a decoding.

        A suffix is given text, so what a window leaves out are masks of the blank alone.
        """
        stop, window = start + decoding.block_length, decoding.suffix_window
        if window is None or stop + window >= length - suffix_length:
            return cls(start, stop, length, length, 0)
        return cls(start, stop, stop + window, length, max(1, suffix_length))

    @property
    def count(self) -> int:
        """Positions that are seen."""
        return self.visible + self.tail

    def positions(self) -> NDArray[np.int64] | None:
        """Their places in the sequence; None for all."""
        if not self.tail:
            return None
        return np.r_[np.arange(self.visible), np.arange(self.length - self.tail, self.length)]

    def rows(self, decoding: Decoding, kind: PassKind) -> tuple[int, int]:
        """Rows that a pass runs, as places among the visible positions."""
        if kind is PassKind.REFRESH:
            return 0, self.count
        window = decoding.window
        last = self.count if window.after is None else min(self.count, self.stop + window.after)
        if kind is PassKind.STEP:
            return max(0, self.start - window.before), last
        # what the window before did not show was never run, so all that follows is
        moved = decoding.suffix_window is not None
        behind = 0 if window.slide else decoding.block_length
        first = self.start - window.before - behind
        return max(0, first), self.count if moved else last


@dataclass(frozen=True, eq=False)
class PassCall:
    """One pass as a backend is asked for it.

    Attributes:
        shape: what it runs.
        start: first position of its block.
        stop: position after the block.
        scope: its reach, where that is not what a plain decoding runs.
    """

    shape: PassShape
    start: int
    stop: int
    scope: Scope | None = None

    @classmethod
    def of(
        cls, decoding: Decoding, kind: PassKind, start: int, length: int, suffix_length: int = 0
    ) -> PassCall:
        """A pass over the block that begins at `start`.

        Args:
            decoding: how text is written.
            kind: what the pass does to the cache.
            start: first position of the block.
            length: positions of the sequence.
            suffix_length: how many of them are given behind the blank.
        """
        reach = _Reach.of(decoding, start, length, suffix_length)
        rows, positions, stop = reach.rows(decoding, kind), reach.positions(), reach.stop
        shape = PassShape(kind, rows[1] - rows[0], reach.count, stop - start)
        if not decoding.is_windowed:
            return cls(shape, start, stop)
        store, tail = kind is PassKind.ADVANCE, max(1, suffix_length)
        return cls(shape, start, stop, Scope(rows, store, positions, tail))

    def arguments(self, tokens: Tokens) -> tuple[Any, ...]:
        """Of a backend's method: what is seen of ``tokens [batch, length]``, the block, the scope.

        A plain pass has no scope, so a backend of one's own need not know them.
        """
        if self.scope is None:
            return tokens, self.start, self.stop
        shown = self.scope.positions
        return tokens if shown is None else tokens[:, shown], self.start, self.stop, self.scope

    @property
    def is_refresh(self) -> bool:
        """Whether it is a backend's refresh; the others are its steps."""
        return self.shape.kind is PassKind.REFRESH


def pass_kind(decoding: Decoding, index: int, is_first: bool) -> PassKind:
    """What a pass over a block is; `index` counts the passes over the block, from 0."""
    if index % decoding.refresh_interval:
        return PassKind.ADVANCE if decoding.window.slide else PassKind.STEP
    advances = index == 0 and not is_first and decoding.window.advance
    return PassKind.ADVANCE if advances else PassKind.REFRESH


@dataclass(frozen=True, eq=False)
class PassRecord:
    """One pass that was run.

    Attributes:
        call: what it was.
        active: samples it counted for, ``[batch]``; the others waited for the next block.
    """

    call: PassCall
    active: NDArray[np.bool_]


#: What a record of a pass consists of.
PASS_CLASSES = (PassRecord, PassCall, PassShape, PassKind, Scope)


def counted(records: Iterable[PassRecord], sample: int = 0) -> Counter[PassShape]:
    """How often each kind of pass was run for one sample."""
    return Counter(record.call.shape for record in records if record.active[sample])


def kinds(counts: Counter[PassShape]) -> Iterator[tuple[PassKind, int]]:
    """Passes by kind alone, in the order of `PassKind`."""
    for kind in PassKind:
        yield kind, sum(count for shape, count in counts.items() if shape.kind is kind)
