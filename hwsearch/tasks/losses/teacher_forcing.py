"""Teacher-forced states: right answers with some tokens masked, and how well those are predicted.

Each block is judged through the passes that will decode it: a refresh over the whole sequence, and
then, if the decoder caches, the block's rows against the shortened cache. Both passes see the same
tokens; each counts by its share of all passes of a generation. Sinks are those of the one refresh.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tokenizers import Encoding

from hwsearch.decoding.backend import Tokens
from hwsearch.decoding.batches import Given, PromptBatch, batches_of_equal_length
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.chat.asking import encoding_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.errors import InputError
from hwsearch.plan import Decoding
from hwsearch.tasks.losses.by_state import StateLoss, in_turn, last, shuffled
from hwsearch.tasks.problem import Problem


@dataclass(frozen=True)
class Answered:
    """A problem with its right answer, as tokens.

    Attributes:
        given: tokens on both sides of the answer.
        target: the answer, then end tokens up to the generated length.
        text: the answer's text.
        encoding: the answer alone, with its offsets in the text.
    """

    given: Given
    target: list[int]
    text: str
    encoding: Encoding


@dataclass(frozen=True, eq=False)
class ForcedBatch:
    """Sequences of one length.

    Attributes:
        given: tokens on both sides of the answers.
        targets: the right tokens, ``[batch, gen_length]``.
        weights: of each position's cross entropy, ``[batch, gen_length]``; a position is masked
            where its weight is not 0.
    """

    given: PromptBatch
    targets: Tokens
    weights: NDArray[np.float64]

    def masked(self, mask_token_id: int) -> Tokens:
        """The sequences as the network sees them, ``[batch, length]``."""
        return self.given.around(np.where(self.weights != 0, mask_token_id, self.targets))


class ForcedStates:
    """Batches and the loss on them.

    Idea: how probable right answers are with some of their tokens masked. Steps: the masks are drawn
    once; each block is judged through the passes that would decode it; cross entropies are summed by
    their weights. Limits: the network sees right tokens everywhere else, so it never has to live
    with its own mistakes; and a model may write a right answer in other words.

    Args:
        batches: the sequences.
        mask_token_id: the token that stands for "not written yet".
        decoding: its blocks are judged, through its passes.
    """

    def __init__(
        self, batches: Sequence[ForcedBatch], mask_token_id: int, decoding: Decoding
    ) -> None:
        self.batches = tuple(batches)
        self.mask_token_id = mask_token_id
        self.decoding = decoding
        self.refresh_share = decoding.refreshes / decoding.steps

    @property
    def cost(self) -> float:
        """Work of one `loss`, in full passes over one sequence."""
        return sum(self._passes(batch) for batch in self.batches for _ in self._blocks(batch))

    def loss(self, network: Network, kept: KeptShares) -> float:
        """Weighted sum of the cross entropies at masked positions, in nats."""
        return last(self.by_state(network, kept))

    def by_state(self, network: Network, kept: KeptShares) -> Iterator[StateLoss]:
        """The loss, a block of a batch at a time; see `hwsearch.tasks.losses.GradualLoss`."""
        backend = backend_of(network, kept)
        states = [(batch, block) for batch in self.batches for block in self._blocks(batch)]
        whole = sum(float(batch.weights[:, block].sum()) for batch, block in states)

        def measure(index: int) -> _Entropy:
            batch, block = states[index]
            tokens, first = batch.masked(self.mask_token_id), batch.given.prompts.shape[1]
            span = (first + block.start, first + block.stop)
            backend.begin()
            logits = backend.refresh_logits(tokens, *span)
            entropy = self.refresh_share * _entropy(logits, batch, block)
            if self.refresh_share < 1:
                logits = backend.step_logits(tokens, *span)
                entropy += (1 - self.refresh_share) * _entropy(logits, batch, block)
            return _Entropy(entropy, float(batch.weights[:, block].sum()), self._passes(batch))

        def describe(part: _Entropy) -> tuple[float, float, float]:
            return part.entropy * whole / part.weight, part.weight / whole, part.work

        def total(parts: Sequence[_Entropy]) -> float:
            entropy = weight = 0.0
            for part in parts:
                entropy, weight = entropy + part.entropy, weight + part.weight
            return entropy if len(parts) == len(states) else entropy * whole / weight

        yield from in_turn(shuffled(len(states)), measure, describe, total)

    def _passes(self, batch: ForcedBatch) -> float:
        """Work of one block of a batch."""
        cached = self.decoding.block_length if self.refresh_share < 1 else 0
        length = batch.given.given_length + self.decoding.gen_length
        return len(batch.targets) * (1 + cached / length)

    def _blocks(self, batch: ForcedBatch) -> list[slice]:
        """Blocks in which anything is judged."""
        size = self.decoding.block_length
        starts = range(0, self.decoding.gen_length, size)
        blocks = (slice(start, start + size) for start in starts)
        return [block for block in blocks if batch.weights[:, block].any()]


@dataclass(frozen=True)
class _Entropy:
    """What one block of a batch gives: its part of the weighted sum, its weight and work."""

    entropy: float
    weight: float
    work: float


def _entropy(logits: torch.Tensor, batch: ForcedBatch, block: slice) -> float:
    targets = torch.from_numpy(batch.targets[:, block].copy()).to(logits.device)
    losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none")
    return float((losses.double().cpu().numpy() * batch.weights[:, block]).sum())


def answered(denoiser: Denoiser, problems: Sequence[Problem]) -> list[Answered]:
    """Problems whose answer and one end token fit what the model writes; others are left out.

    Raises:
        InputError: none fits.
    """
    room, found = denoiser.decoding.gen_length, []
    for problem in problems:
        encoding = encoding_of(denoiser.tokenizer, problem.answer, add_special_tokens=False)
        if len(encoding.ids) < room:
            ends = [denoiser.end_token_id] * (room - len(encoding.ids))
            target = encoding.ids + ends
            given = denoiser.given(problem.asked)
            found.append(Answered(given, target, problem.answer, encoding))
    if not found:
        raise InputError(
            f"none of the {len(problems)} answers fits in the {room} tokens that "
            f"{denoiser.name!r} writes; decode with a larger gen_length"
        )
    return found


def batches_of(
    rows: Sequence[Answered], weights: NDArray[np.float64], batch: int = 16
) -> list[ForcedBatch]:
    """Rows whose answers stand alike together, with their weights ``[rows, gen_length]``."""
    return [
        ForcedBatch(
            group,
            np.array([rows[index].target for index in group.indices], dtype=np.int64),
            weights[group.indices],
        )
        for group in batches_of_equal_length([row.given for row in rows], batch)
    ]
