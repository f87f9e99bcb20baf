"""Where the sinks are: positions that can be named in sequences of different lengths.

A position has three names: counted from the sequence's start, counted from the end of its prompt,
and by the token that stands there. A sink in the first token, in the last token of the prompt, or in
every full stop is then one *place*, however long each prompt is.

*Share* of a place: of all attention in a pass and layer, the part that its positions receive, mean over
passes, layers and sequences; 0 to 1. An *even share* is what they would receive if attention were even.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from hwsearch.sinks.formulas import Flags, Floats, sinks_of
from hwsearch.sinks.recorder import SinkStatistics

#: How a place is named; where two names mean the same positions, the earlier is used.
Kind = Literal["start", "prompt_end", "token"]
KINDS: tuple[Kind, ...] = ("start", "prompt_end", "token")

#: A place is a sink where each of its positions gets at least so many times an even share.
LEAST_TIMES_EVEN = 2.0

#: Places with the largest shares that are looked at before those that mean the same are dropped.
CANDIDATES = 24


@dataclass(frozen=True, eq=False)
class Place:
    """Positions of one name over some sequences.

    Attributes:
        kind: ``start`` (``at`` positions after the first), ``prompt_end`` (0 is the first position
            after the prompt, -1 the last of it) or ``token``.
        at: that number; of a token its id.
        tokens: tokens that stood there and how much of the place's attention each received.
        share: of all attention, mean over passes, layers and sequences.
        even_share: what it would be if attention were even.
        positions: how many positions it has in a pass, mean over passes and sequences.
        sink: share of passes and layers in which one of its positions was among the k heaviest.
        heaviest: share of passes and layers in which one of its positions was the heaviest of all.
        by_layer: `share` of each layer, ``[layers]``.
        by_sequence: `share` of each sequence, in the order of the statistics, ``[sequences]``.
    """

    kind: Kind
    at: int
    share: float
    even_share: float
    positions: float
    sink: float
    heaviest: float
    tokens: dict[int, float] = field(repr=False)
    by_layer: Floats = field(repr=False)
    by_sequence: Floats = field(repr=False)

    @property
    def times_even(self) -> float:
        """Share as a multiple of an even share."""
        return self.share / self.even_share


def find_places(recorded: Sequence[SinkStatistics], most: int = 5) -> list[Place]:
    """Places that are sinks, largest share first; none where attention has no place of its own.

    Of two names that mean mostly the same positions, one is used: that of the larger share, or where
    shares are equal the plainer (first token, last of the prompt). Names counted from the prompt's end,
    and tokens, are used where the statistics know them.

    Args:
        recorded: statistics with masses by pass.
        most: how many at most.
    """
    groups = [_Group(part) for part in recorded]
    named = sorted(_shares(groups), key=_rank)
    found: list[Place] = []
    masks: list[list[Flags]] = []
    for kind, at, _ in named[:CANDIDATES]:
        mask = [group.mask(kind, at) for group in groups]
        place = _place(kind, at, groups, mask)
        if place.times_even < LEAST_TIMES_EVEN or any(
            _mostly_within(groups, mask, other) for other in masks
        ):
            continue
        found.append(place)
        masks.append(mask)
    return found[:most]


def _rank(named: tuple[Kind, int, float]) -> tuple[float, int]:
    """Larger shares first; of equal ones the plainer name."""
    kind, at, share = named
    plain = [("start", 0), ("prompt_end", -1), ("prompt_end", 0)]
    order = plain.index((kind, at)) if (kind, at) in plain else 3 + KINDS.index(kind)
    return -round(share, 6), order


class _Group:
    """One group of sequences, its attention as shares.

    Attributes:
        share: ``[passes, batch, layers, length]``; adds up to 1 over positions.
        heaviest, sinks: whether a position is the heaviest, and of the k heaviest; the same shape.
        there: whether a position was there in a pass, ``[passes, batch, length]``.
        start: the first position of each sequence, ``[batch]``.
        prompts: tokens of each prompt, ``[batch]``; None where nobody said.
        tokens: ``[passes, batch, length]``; None where nobody said.
    """

    def __init__(self, part: SinkStatistics) -> None:
        assert part.by_pass is not None, "places need masses by pass"
        self.share = part.by_pass / part.by_pass.sum(axis=-1, keepdims=True)
        # a position is there from one pass on, or from the first to the last
        passes = np.arange(part.passes)[:, None, None]
        self.there = passes >= part.passes - part.present[None]
        self.start = part.first_position
        self.prompts, self.tokens = part.prompts, part.tokens
        shown = np.where(self.there[:, :, None], self.share, -1.0)
        best = shown == shown.max(axis=-1, keepdims=True)
        # of equally heavy positions each is the heaviest in part
        self.heaviest = best / best.sum(axis=-1, keepdims=True, dtype=np.float32)
        self.sinks = np.stack(
            [sinks_of(at, part.k, there) for at, there in zip(self.share, self.there, strict=True)]
        )

    def anchors(self) -> Iterator[tuple[Kind, NDArray[np.int64]]]:
        """What positions are counted from, ``[batch]``, by kind."""
        yield "start", self.start
        if self.prompts is not None:
            yield "prompt_end", self.start + self.prompts

    def mask(self, kind: Kind, at: int) -> Flags:
        """Which positions a name means in each pass, ``[passes, batch, length]``."""
        if kind == "token":
            if self.tokens is None:
                return np.zeros_like(self.there)
            return (self.tokens == at) & self.there
        places = np.arange(self.share.shape[-1])
        from_ = dict(self.anchors()).get(kind)
        if from_ is None:
            return np.zeros_like(self.there)
        return (places == from_[:, None] + at) & self.there


def _shares(groups: Sequence[_Group]) -> list[tuple[Kind, int, float]]:
    """Every name with its share, mean over passes, layers and sequences."""
    sums: dict[tuple[Kind, int], float] = defaultdict(float)
    sequences = sum(group.share.shape[1] for group in groups)
    for group in groups:
        mean = group.share.mean(axis=2)
        for kind, anchor in group.anchors():
            for row, first in enumerate(anchor):
                for place, share in enumerate(mean[:, row].mean(axis=0)):
                    sums[kind, int(place - first)] += share
        if group.tokens is not None:
            ids, where = np.unique(group.tokens, return_inverse=True)
            totals = np.bincount(where.ravel(), mean.ravel()) / len(mean)
            for token, share in zip(ids.tolist(), totals, strict=True):
                sums["token", token] += share
    return [(kind, at, share / sequences) for (kind, at), share in sums.items()]


def _place(kind: Kind, at: int, groups: Sequence[_Group], masks: Sequence[Flags]) -> Place:
    """Figures of a name; means are over sequences, each of which has as many passes and layers."""
    shares, sink, heaviest, even, count = [], [], [], [], []
    tokens: dict[int, float] = defaultdict(float)
    for group, mask in zip(groups, masks, strict=True):
        passes, layers = len(mask), group.share.shape[2]
        shares.append(np.einsum("pbln,pbn->bl", group.share, mask) / passes)
        heaviest.append(np.einsum("pbln,pbn->b", group.heaviest, mask) / (passes * layers))
        sink.append(np.einsum("pbln,pbn->pbl", group.sinks, mask).mean(axis=(0, 2)))
        count.append(mask.sum(axis=-1).mean(axis=0))
        even.append((mask.sum(axis=-1) / group.there.sum(axis=-1)).mean(axis=0))
        if group.tokens is not None:
            mass = (group.share.mean(axis=2) * mask)[mask]
            for token, part in zip(group.tokens[mask].tolist(), mass, strict=True):
                tokens[token] += float(part)
    by_sequence = np.concatenate(shares)  # [sequences, layers]
    total = sum(tokens.values()) or 1.0
    return Place(
        kind=kind,
        at=at,
        share=float(by_sequence.mean()),
        even_share=float(np.concatenate(even).mean()),
        positions=float(np.concatenate(count).mean()),
        sink=float(np.concatenate(sink).mean()),
        heaviest=float(np.concatenate(heaviest).mean()),
        tokens={
            token: part / total for token, part in sorted(tokens.items(), key=lambda row: -row[1])
        },
        by_layer=by_sequence.mean(axis=0),
        by_sequence=by_sequence.mean(axis=1),
    )


def _mostly_within(groups: Sequence[_Group], mask: Sequence[Flags], other: Sequence[Flags]) -> bool:
    """Whether most of the attention on one place is on positions of another."""
    inside = whole = 0.0
    for group, mine, theirs in zip(groups, mask, other, strict=True):
        mean = group.share.mean(axis=2)
        inside += float(mean[mine & theirs].sum())
        whole += float(mean[mine].sum())
    return inside > 0.5 * whole
