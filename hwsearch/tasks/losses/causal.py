"""Losses of autoregressive models: right answers read once, each token told from those before it.

A prompt and its right answer are fed in one pass (teacher forcing). A causal network predicts every
token of the answer in it, each from the tokens before, so one pass says what a generation of as many
passes would, had it written the right tokens.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hwsearch.decoding.backend import Tokens
from hwsearch.decoding.batches import Given, groups_of_equal_length
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.activation_cache import ActivationCache
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.caching.results import remembered
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.errors import InputError
from hwsearch.progress import each
from hwsearch.tasks.losses.by_state import StateLoss, in_turn, last
from hwsearch.tasks.losses.loss import Judged, JudgedLogits
from hwsearch.tasks.losses.sizes import ACTIVATION_BYTES
from hwsearch.tasks.losses.teacher_forcing import answered
from hwsearch.tasks.problem import Problem

#: Most sequences of one length that are read together.
BATCH = 16


@dataclass(frozen=True, eq=False)
class SolvedBatch:
    """Prompts with their right answers, of one length together.

    Attributes:
        tokens: prompt, answer and one end token, ``[batch, length]``.
        start: first position that any of them judges; at least 1, since one stands before it.
        judged: which positions from `start` on hold a token of the answer, ``[batch, length - start]``.
        sources: the uncompressed model's final hidden states before its head that predict the
            positions from `start` on, ``[batch, length - start, hidden_size]``: a thousandth of what
            their distributions over a vocabulary would take.
        entropy: of the uncompressed model over judged positions, summed, in nats.
    """

    tokens: Tokens
    start: int
    judged: NDArray[np.bool_]
    sources: Tensor = field(repr=False)
    entropy: float

    @property
    def count(self) -> int:
        """Positions that are judged."""
        return int(self.judged.sum())

    @property
    def span(self) -> tuple[int, int]:
        """The judged positions, and those between them."""
        return self.start, self.tokens.shape[1]


class SolvedProblems(ABC):
    """Solved problems of an autoregressive model, and a loss on them.

    Idea: how a plan changes the next token wherever a right answer leads. Steps: prompt, answer and an
    end token are read in one pass; a position's part is computed from the logits of the one before;
    the loss is the mean over all answer tokens. All plans read the same tokens, so the noise of
    drawing problems cancels between them (common random numbers).

    Limits: a network never has to live with its own mistakes, and a model may write a right answer in
    other words. Inputs that ``w8a8`` rounds have one scale a pass, as they have while a prompt is read;
    tokens that are written one by one have one each, which is finer.

    Args:
        batches: the problems.
        head: the uncompressed model's, for what `SolvedBatch.sources` predict.
        activation_bytes: memory for layer outputs that other plans may find again.
    """

    name: ClassVar[str]

    def __init__(
        self,
        batches: Sequence[SolvedBatch],
        head: torch.nn.Module,
        activation_bytes: int = ACTIVATION_BYTES,
    ) -> None:
        self.batches = tuple(batches)
        self.head = head
        self.activations = ActivationCache(activation_bytes)

    @classmethod
    def record(cls, denoiser: Denoiser, problems: Sequence[Problem]) -> Self:
        """Let an autoregressive model read solved problems.

        Raises:
            InputError: the model is none, a problem has no answer, or no answer fits what it writes.
        """
        if not denoiser.is_causal:
            raise InputError(f"model {denoiser.name!r} is not autoregressive")
        return cls(_batches(denoiser, problems), denoiser.transformer.lm_head)

    @property
    def cost(self) -> float:
        """Work of one `loss`, in full passes over one sequence."""
        return float(sum(len(batch.tokens) for batch in self.batches))

    def loss(self, network: Network, kept: KeptShares) -> float:
        """The loss in nats per answer token."""
        return last(self.by_state(network, kept))

    def by_state(self, network: Network, kept: KeptShares) -> Iterator[StateLoss]:
        """The loss, a batch at a time; see `hwsearch.tasks.losses.GradualLoss`."""
        backend = backend_of(network, kept, self.activations)
        whole = sum(batch.count for batch in self.batches)

        def measure(index: int) -> _Summed:
            batch = self.batches[index]
            backend.begin(frozen=index)
            logits = backend.refresh_logits(batch.tokens, *batch.span)
            with torch.inference_mode():
                found = self.at_positions(batch, logits).double().cpu()
            return _Summed(float(found[torch.from_numpy(batch.judged)].sum()), batch)

        def describe(part: _Summed) -> tuple[float, float, float]:
            count = part.batch.count
            return part.loss / count, count / whole, float(len(part.batch.tokens))

        def total(parts: Sequence[_Summed]) -> float:
            loss, count = 0.0, 0
            for part in parts:
                loss, count = loss + part.loss, count + part.batch.count
            return loss / count

        yield from in_turn(self.order, measure, describe, total)

    def judged(
        self, network: Network, kept: KeptShares | None = None
    ) -> Iterator[list[JudgedLogits]]:
        """Differentiable logits; see `hwsearch.tasks.losses.loss.DivergenceLoss`."""
        kept = kept or KeptShares.keeping_all(len(network.linear_groups().layers))
        backend = backend_of(network, kept, differentiable=True)
        whole = sum(batch.count for batch in self.batches)
        for batch in self.batches:
            backend.begin()
            weights = torch.from_numpy(batch.judged).double() / whole
            yield [JudgedLogits(backend.refresh_logits(batch.tokens, *batch.span), weights)]

    @property
    def judges(self) -> Judged:
        """What it judges; see `hwsearch.tasks.losses.loss.DivergenceLoss`."""
        tokens = [array for batch in self.batches for array in (batch.tokens, batch.judged)]
        return Judged.of(self.name, tokens, len(self.batches))

    @cached_property
    def order(self) -> list[int]:
        """Batches, those of which the uncompressed model is least sure for their work first."""
        worth = [batch.entropy / len(batch.tokens) for batch in self.batches]
        return sorted(range(len(worth)), key=lambda index: -worth[index])

    @abstractmethod
    def at_positions(self, batch: SolvedBatch, logits: Tensor) -> Tensor:
        """Each position's part in nats, ``[batch, rows]``, of logits ``[batch, rows, vocab]``."""


class SolvedDivergence(SolvedProblems):
    """The loss ``kl`` of autoregressive models: mean KL(uncompressed || plan) over answer tokens."""

    name = "kl"

    def at_positions(self, batch: SolvedBatch, logits: Tensor) -> Tensor:
        """KL divergence from what the uncompressed model predicts."""
        reference = _log_probabilities(self.head, batch.sources)
        return F.kl_div(
            logits.log_softmax(dim=-1), reference, reduction="none", log_target=True
        ).sum(dim=-1)


class SolvedLikelihood(SolvedProblems):
    """The loss ``nll`` of autoregressive models: mean ``-log p`` of answer tokens, end token included."""

    name = "nll"

    def at_positions(self, batch: SolvedBatch, logits: Tensor) -> Tensor:
        """Cross entropy of the right tokens."""
        right = torch.from_numpy(batch.tokens[:, batch.start :].copy()).to(logits.device)
        return F.cross_entropy(logits.transpose(1, 2), right, reduction="none")


@dataclass(frozen=True)
class _Summed:
    """A batch's loss, summed over its judged positions."""

    loss: float
    batch: SolvedBatch


def _log_probabilities(head: torch.nn.Module, sources: Tensor) -> Tensor:
    return torch.log_softmax(head(sources).float(), dim=-1)


def _batches(denoiser: Denoiser, problems: Sequence[Problem]) -> list[SolvedBatch]:
    if not all(problem.answer for problem in problems):
        raise InputError(
            f"model {denoiser.name!r} is autoregressive, so its losses need problems with answers, not "
            'questions alone: calibrate on problems with "question" and "answer"'
        )
    solved = [
        (row.given, row.target[: len(row.encoding.ids) + 1]) for row in answered(denoiser, problems)
    ]
    return remembered(
        "solved", denoiser, [repr(solved)], lambda: _read(denoiser, solved), [SolvedBatch]
    )


def _read(denoiser: Denoiser, solved: Sequence[tuple[Given, list[int]]]) -> list[SolvedBatch]:
    """Let a model read prompts with their answers."""
    whole, batches = [given.around(answer) for given, answer in solved], []
    groups = groups_of_equal_length(whole, BATCH)
    for group in each(groups, "reading solved problems", len(whole), len):
        tokens = np.array([whole[index] for index in group], dtype=np.int64)
        first = np.array([max(1, len(solved[index][0].prompt)) for index in group])
        judged = np.arange(tokens.shape[1]) >= first[:, None]
        batches.append(_batch(denoiser, tokens, judged))
    return batches


@torch.inference_mode()
def _batch(denoiser: Denoiser, tokens: Tokens, judged: NDArray[np.bool_]) -> SolvedBatch:
    network = denoiser.transformer
    start = int(judged.any(axis=0).argmax())
    judged = judged[:, start:]
    hidden = network.refresh(torch.from_numpy(tokens).to(network.device)).hidden
    sources = hidden[:, start - 1 : -1].clone()
    logp = _log_probabilities(network.lm_head, sources)
    entropy = torch.special.entr(logp.exp()).sum(dim=-1).cpu()
    return SolvedBatch(
        tokens, start, judged, sources, float(entropy[torch.from_numpy(judged)].sum())
    )
