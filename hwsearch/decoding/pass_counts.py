"""How often a generation makes which passes, where that depends on the text it writes.

A schedule's passes are known beforehand. A commit policy takes as many as its text asks for, so they
are counted while problems are answered, and what is predicted is their mean.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hwsearch.decoding.answer import answer_length
from hwsearch.decoding.passes import PassCall, PassKind, PassShape, pass_kind
from hwsearch.decoding.sampler import Generation
from hwsearch.errors import InputError
from hwsearch.plan import Decoding


@dataclass(frozen=True, order=True)
class PassPlace:
    """One of the passes that a generation may make, whatever its prompt.

    Attributes:
        offset: first position of its block, counted from the end of the prompt.
        kind: what it does to the cache.
    """

    offset: int
    kind: PassKind

    def shape(self, decoding: Decoding, prompt_length: int, suffix_length: int = 0) -> PassShape:
        """What it runs between a prompt and a suffix of so many tokens."""
        length = prompt_length + decoding.gen_length + suffix_length
        start = prompt_length + self.offset
        return PassCall.of(decoding, self.kind, start, length, suffix_length).shape


@dataclass(frozen=True)
class PassCounts:
    """Passes of the generations of some problems, one decoding.

    Attributes:
        decoding: how they were written.
        places: the passes that any of them made.
        counts: how often each problem's generation made each, ``[problems][places]``.
        steps_after: steps that follow the first beginning of a block, the second, ..., in the mean over
            problems; a beginning is a refresh or an advance.
        tokens: tokens of each problem's answer, those before its first end token.
    """

    decoding: Decoding
    places: tuple[PassPlace, ...]
    counts: tuple[tuple[int, ...], ...]
    steps_after: tuple[float, ...]
    tokens: tuple[int, ...]

    @classmethod
    def scheduled(cls, decoding: Decoding) -> PassCounts:
        """Those of a decoding whose passes do not depend on the text, as one problem's.

        Raises:
            InputError: they do.
        """
        if decoding.depends_on_text:
            raise InputError(
                "how many passes this decoding takes depends on the text (commit, stop_at_end): count them "
                "by answering problems"
            )
        places = [
            PassPlace(block * decoding.block_length, pass_kind(decoding, index, block == 0))
            for block in range(decoding.num_blocks)
            for index in range(decoding.steps_per_block)
        ]
        counts = Counter(places)
        after = tuple(map(float, _steps_after(places)))
        tokens = (decoding.gen_length,)
        return cls(decoding, tuple(counts), (tuple(counts.values()),), after, tokens)

    @classmethod
    def of(
        cls,
        decoding: Decoding,
        samples: Iterable[tuple[Generation, int]],
        end_tokens: Collection[int],
    ) -> PassCounts:
        """Those of generations that were run.

        Args:
            decoding: how they were written.
            samples: each with a row of its batch.
            end_tokens: tokens that end an answer.
        """
        rows, after, tokens = [], [], []
        for found, row in samples:
            blank = found.blank
            places = [
                PassPlace(record.call.start - blank.start, record.call.shape.kind)
                for record in found.passes
                if record.active[row]
            ]
            rows.append(Counter(places))
            after.append(_steps_after(places))
            tokens.append(answer_length(found.tokens[row, blank.place], end_tokens))
        known = sorted(set().union(*rows))
        longest = max(map(len, after))
        steps = np.array([[*each, *[0] * (longest - len(each))] for each in after])
        return cls(
            decoding,
            tuple(known),
            tuple(tuple(counts[place] for place in known) for counts in rows),
            tuple(steps.mean(axis=0).tolist()),
            tuple(tokens),
        )

    @cached_property
    def array(self) -> NDArray[np.float64]:
        """The counts as ``[problems, places]``."""
        return np.array(self.counts, dtype=np.float64)

    @cached_property
    def means(self) -> NDArray[np.float64]:
        """How often each place is run, in the mean over problems."""
        return np.asarray(self.array.mean(axis=0))

    @property
    def by_kind(self) -> dict[PassKind, float]:
        """Passes by kind, in the mean over problems."""
        found = dict.fromkeys(PassKind, 0.0)
        for place, mean in zip(self.places, self.means.tolist(), strict=True):
            found[place.kind] += mean
        return found

    @property
    def total(self) -> float:
        """All passes, in the mean over problems."""
        return float(self.means.sum())

    @property
    def mean_tokens(self) -> float:
        """Tokens of an answer, in the mean over problems."""
        return float(np.mean(self.tokens))

    def by_shape(
        self, prompt_length: int, suffix_length: int = 0
    ) -> dict[PassShape, NDArray[np.float64]]:
        """How often each problem runs each shape of pass, ``[problems]``.

        Args:
            prompt_length: tokens before what is written.
            suffix_length: and behind it.
        """
        found: dict[PassShape, NDArray[np.float64]] = {}
        for place, counts in zip(self.places, self.array.T, strict=True):
            shape = place.shape(self.decoding, prompt_length, suffix_length)
            found[shape] = found.get(shape, 0.0) + counts
        return found

    def document(self) -> dict[str, Any]:
        """The counts as plain data, without the decoding."""
        return {
            "places": [[place.offset, place.kind.value] for place in self.places],
            "counts": [list(row) for row in self.counts],
            "steps_after": list(self.steps_after),
            "tokens": list(self.tokens),
        }

    @classmethod
    def read(cls, decoding: Decoding, document: Mapping[str, Any]) -> PassCounts:
        """The inverse of `document`."""
        return cls(
            decoding,
            tuple(PassPlace(offset, PassKind(kind)) for offset, kind in document["places"]),
            tuple(tuple(row) for row in document["counts"]),
            tuple(document["steps_after"]),
            tuple(document["tokens"]),
        )


def _steps_after(places: Sequence[PassPlace]) -> list[int]:
    """Steps that follow each beginning of a block.

    A block that slides stores what it runs in every pass, so each of its passes is a beginning.
    """
    counts: list[int] = []
    for place in places:
        if place.kind is PassKind.STEP:
            counts[-1] += 1
        else:
            counts.append(0)
    return counts
