"""Snapshots of the uncompressed model's own generations, which plans are judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwsearch.decoding.answer import end_token_ids
from hwsearch.decoding.backend import GREEDY, Prediction, Sampling, Tokens
from hwsearch.decoding.batches import Given, batches_of_equal_length
from hwsearch.decoding.cache import ALMOST_ALL, SinkHistory
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import Scope
from hwsearch.decoding.sampler import advancing, generation
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.torch_backend import TokenChooser
from hwsearch.progress import work
from hwsearch.tasks.losses.pricing.decoded import WRITTEN_CLASSES, DecodedProblem
from hwsearch.tasks.losses.reference_logp import ReferenceLogp, TopLogp, WholeLogp, reference_of


@dataclass(frozen=True, eq=False)
class FrozenState:
    """Some generations of one length, stopped in the middle of a block.

    Attributes:
        at_refresh: tokens at the block's refresh, ``[batch, length]``.
        at_step: tokens at a later pass over the same block, ``[batch, length]``; None where
            every pass is a refresh.
        start: first position of the block.
        stop: position after the block.
        history: each layer's sinks before the refresh.
        refresh_logp: what the uncompressed model predicts at the refresh.
        step_logp: and at the later pass, if there is one.
    """

    at_refresh: Tokens
    at_step: Tokens | None
    start: int
    stop: int
    history: dict[int, SinkHistory] = field(repr=False)
    refresh_logp: ReferenceLogp = field(repr=False)
    step_logp: ReferenceLogp | None = field(repr=False)


def deal(refreshes: int, questions: int, each: int, seed: int = 0) -> NDArray[np.bool_]:
    """Which refreshes of which question are judged, ``[questions, refreshes]``.

    Every question is dealt `each` different ones, and all refreshes are dealt equally often.
    """
    each = min(each, refreshes)
    rng = np.random.default_rng((seed, refreshes))
    judged = np.zeros((questions, refreshes), dtype=bool)
    for index in range(questions):
        rarest = np.lexsort((rng.random(refreshes), judged.sum(axis=0)))[:each]
        judged[index, rarest] = True
    return judged


class StateRecorder:
    """Decodes the uncompressed model and takes snapshots after refreshes.

    Args:
        denoiser: the uncompressed model.
        rng: draws the pass after a refresh at which a snapshot is taken.
        judged: the refreshes of each sample that are snapshot, ``[batch, refreshes]``.
    """

    def __init__(
        self, denoiser: Denoiser, rng: np.random.Generator, judged: NDArray[np.bool_]
    ) -> None:
        self._layers = denoiser.num_layers
        self._backend = backend_of(
            denoiser.network, KeptShares((ALMOST_ALL,) * denoiser.num_layers)
        )
        self._decoding = denoiser.decoding.scheduled()
        self._rng = rng
        self._rows = iter(judged.T)
        self._choose = TokenChooser()
        self._wait = 0
        self._refreshed: FrozenState | None = None
        self._judged = judged[:, 0]
        self.states: list[FrozenState] = []

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        """Begin a generation."""
        self._backend.begin()
        self._choose = TokenChooser(sampling)

    def refresh(self, tokens: Tokens, start: int, stop: int, *scope: Scope) -> Prediction:
        """A refresh, and a snapshot of the samples that are judged at it."""
        before = self._backend.history() or {
            layer: SinkHistory.blank(*tokens.shape) for layer in range(self._layers)
        }
        logits = self._backend.refresh_logits(tokens, start, stop, *scope)
        self._judged = next(self._rows)
        self._refreshed = None
        cached = min(self._decoding.refresh_interval, self._decoding.steps_per_block) - 1
        # drawn at every refresh, so that which are judged changes nothing else
        self._wait = int(self._rng.integers(1, cached + 1)) if cached else 0
        if self._judged.any():
            state = self._snapshot(tokens, start, stop, before, logits)
            if cached:
                self._refreshed = state
            else:
                self.states.append(state)
        return self._choose(logits)

    def step(self, tokens: Tokens, start: int, stop: int, *scope: Scope) -> Prediction:
        """A step; the one that was drawn completes the snapshot."""
        logits = self._backend.step_logits(tokens, start, stop, *scope)
        self._wait -= 1
        rows = self._judged
        if self._wait == 0 and self._refreshed is not None:
            logp = reference_of(logits[torch.from_numpy(rows)])
            self.states.append(replace(self._refreshed, at_step=tokens[rows], step_logp=logp))
        return self._choose(logits)

    def _snapshot(
        self,
        tokens: Tokens,
        start: int,
        stop: int,
        before: Mapping[int, SinkHistory],
        logits: Tensor,
    ) -> FrozenState:
        """The samples that are judged at a refresh, one at least."""
        rows = self._judged
        return FrozenState(
            tokens[rows],
            None,
            start,
            stop,
            {layer: history.rows(rows) for layer, history in before.items()},
            reference_of(logits[torch.from_numpy(rows)]),
            None,
        )


#: What recorded states, and what was written meanwhile, consist of.
STATE_CLASSES = (
    FrozenState,
    SinkHistory,
    WholeLogp,
    TopLogp,
    *WRITTEN_CLASSES,
)


def record_states(
    denoiser: Denoiser, prompts: Sequence[Given], per_question: int, batch: int, seed: int
) -> tuple[list[FrozenState], tuple[DecodedProblem, ...]]:
    """Answer prompts, and take snapshots on the way; see `hwsearch.tasks.losses.kl.FrozenStates.record`.

    Returns:
        The snapshots, and what was written, in the order of the prompts.
    """
    rng = np.random.default_rng(seed)
    decoding = denoiser.decoding.scheduled()
    judged = deal(decoding.refreshes, len(prompts), per_question, seed)
    states: list[FrozenState] = []
    written: dict[int, DecodedProblem] = {}
    ends = end_token_ids(denoiser)
    with work("recording states", len(prompts) * decoding.steps) as advance:
        for group in batches_of_equal_length(prompts, batch):
            recorder = StateRecorder(denoiser, rng, judged[group.indices])
            found = generation(
                recorder,
                group.prompts,
                decoding,
                denoiser.mask_token_id,
                on_pass=advancing(advance),
                suffixes=group.suffixes,
            )
            states.extend(recorder.states)
            for row, index in enumerate(group.indices):
                written[index] = DecodedProblem.of(found, row, ends)
    return states, tuple(written[index] for index in range(len(prompts)))
