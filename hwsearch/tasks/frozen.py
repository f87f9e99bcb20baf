"""The loss that a search minimises: KL against the uncompressed model on frozen masked states.

States are snapshots of the uncompressed model's own trajectories on calibration problems: the
tokens at a refresh, the tokens a few passes later, and what each layer had seen of its sinks. All
plans are judged on the same states, so the noise of sampling states cancels between plans.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from hwsearch.decoding.backend import GREEDY, Prediction, Sampling, Tokens
from hwsearch.decoding.batches import groups_of_equal_length
from hwsearch.decoding.cache import ALMOST_ALL, SinkHistory
from hwsearch.decoding.sampler import generate
from hwsearch.denoisers.backend import Choice
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.memo import LayerMemo
from hwsearch.denoisers.network import Network
from hwsearch.denoisers.passes import backend_of

#: Refreshes of each calibration question that are judged. Judging all three of gsm-mini's costs three
#: times as much and ranks plans no better (studies/proxies/states.py).
PER_QUESTION = 1

#: Memory for what layers put out on the states, so that a plan starts at its first new layer.
MEMO_BYTES = 2 << 30


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
        refresh_logp: the uncompressed model's log probabilities at the refresh,
            ``[batch, block, vocab]``.
        step_logp: and at the later pass, if there is one.
    """

    at_refresh: Tokens
    at_step: Tokens | None
    start: int
    stop: int
    history: dict[int, SinkHistory] = field(repr=False)
    refresh_logp: Tensor = field(repr=False)
    step_logp: Tensor | None = field(repr=False)


class FrozenStates:
    """States of a set of problems, and the loss of a compressed network on them: the proxy ``kl``.

    Args:
        states: the snapshots.
        mask_token_id: only positions that hold it are judged.
        refresh_share: weight of refresh passes in the loss: their share of all passes.
        memo_bytes: memory for layer outputs that other plans may find again.
    """

    name = "kl"

    def __init__(
        self,
        states: Sequence[FrozenState],
        mask_token_id: int,
        refresh_share: float,
        memo_bytes: int = MEMO_BYTES,
    ) -> None:
        self.states = tuple(states)
        self.mask_token_id = mask_token_id
        self.refresh_share = refresh_share
        self.memo = LayerMemo(memo_bytes)

    @classmethod
    def record(
        cls,
        denoiser: Denoiser,
        questions: Sequence[str],
        *,
        per_question: int = PER_QUESTION,
        batch: int = 16,
        seed: int = 0,
    ) -> FrozenStates:
        """Snapshots of how `denoiser` answers `questions`.

        Args:
            denoiser: the uncompressed model.
            questions: calibration questions.
            per_question: refreshes of each question's generation that are judged, drawn so that
                all refreshes are judged equally often; at most as many as there are.
            batch: most questions of one prompt length decoded together.
            seed: of the refreshes, and of the pass after each at which a snapshot is taken.
        """
        rng = np.random.default_rng(seed)
        prompts = [denoiser.prompt(question) for question in questions]
        judged = deal(denoiser.decoding.refreshes, len(prompts), per_question, seed)
        states: list[FrozenState] = []
        for group in groups_of_equal_length(prompts, batch):
            recorder = _Recorder(denoiser, rng, judged[group])
            tokens = np.array([prompts[index] for index in group])
            generate(recorder, tokens, denoiser.decoding, denoiser.mask_token_id)
            states.extend(recorder.states)
        decoding = denoiser.decoding
        return cls(states, denoiser.mask_token_id, decoding.refreshes / decoding.steps)

    @property
    def cost(self) -> float:
        """Work of one `loss`, in full passes over one sequence."""
        return sum(_passes(state) for state in self.states)

    def loss(self, network: Network, kept_shares: Sequence[float]) -> float:
        """Mean KL divergence from the uncompressed model, in nats per masked position."""
        backend = backend_of(network, kept_shares, self.memo)
        refresh, step = _Mean(), _Mean()
        for index, state in enumerate(self.states):
            backend.begin(state.history, frozen=index)
            span = (state.start, state.stop)
            logits = backend.refresh_logits(state.at_refresh, *span)
            refresh.add(state.refresh_logp, logits, self._masked(state.at_refresh, *span))
            if state.at_step is None or state.step_logp is None:
                continue
            logits = backend.step_logits(state.at_step, *span)
            step.add(state.step_logp, logits, self._masked(state.at_step, *span))
        return self.refresh_share * refresh.value + (1 - self.refresh_share) * step.value

    def _masked(self, tokens: Tokens, start: int, stop: int) -> Tensor:
        return torch.from_numpy(tokens[:, start:stop] == self.mask_token_id)


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


def _passes(state: FrozenState) -> float:
    batch, length = state.at_refresh.shape
    cached = 0.0 if state.at_step is None else (state.stop - state.start) / length
    return batch * (1 + cached)


class _Mean:
    """Running mean of the KL over masked positions."""

    def __init__(self) -> None:
        self.total, self.count = 0.0, 0

    def add(self, reference: Tensor, logits: Tensor, masked: Tensor) -> None:
        divergence = F.kl_div(
            logits.log_softmax(dim=-1), reference, reduction="none", log_target=True
        ).sum(dim=-1)
        masked = masked.to(divergence.device)
        self.total += float(divergence[masked].sum())
        self.count += int(masked.sum())

    @property
    def value(self) -> float:
        return self.total / max(1, self.count)


class _Recorder:
    """Decodes the uncompressed model and takes snapshots after refreshes.

    Args:
        denoiser: the uncompressed model.
        rng: draws the pass after a refresh at which a snapshot is taken.
        judged: the refreshes of each sample that are snapshot, ``[batch, refreshes]``.
    """

    def __init__(
        self, denoiser: Denoiser, rng: np.random.Generator, judged: NDArray[np.bool_]
    ) -> None:
        self._backend = backend_of(denoiser.network, [ALMOST_ALL] * denoiser.num_layers)
        self._decoding = denoiser.decoding
        self._rng = rng
        self._rows = iter(judged.T)
        self._choose = Choice()
        self._wait = 0
        self._refreshed: FrozenState | None = None
        self._judged = judged[:, 0]
        self.states: list[FrozenState] = []

    def begin(self, *, sampling: Sampling = GREEDY) -> None:
        self._backend.begin()
        self._choose = Choice(sampling)

    def refresh(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        before = self._backend.history() or {
            layer: SinkHistory.blank(*tokens.shape)
            for layer in range(len(self._backend.kept_shares))
        }
        logits = self._backend.refresh_logits(tokens, start, stop)
        rows = self._judged = next(self._rows)
        state = FrozenState(
            tokens[rows],
            None,
            start,
            stop,
            {layer: history.rows(rows) for layer, history in before.items()},
            logits[torch.from_numpy(rows)].log_softmax(-1),
            None,
        )
        cached = min(self._decoding.refresh_interval, self._decoding.steps_per_block) - 1
        if cached:
            self._refreshed, self._wait = state, int(self._rng.integers(1, cached + 1))
        elif rows.any():
            self.states.append(state)
        return self._choose(logits)

    def step(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        logits = self._backend.step_logits(tokens, start, stop)
        self._wait -= 1
        rows = self._judged
        if self._wait == 0 and self._refreshed is not None and rows.any():
            logp = logits[torch.from_numpy(rows)].log_softmax(dim=-1)
            self.states.append(replace(self._refreshed, at_step=tokens[rows], step_logp=logp))
        return self._choose(logits)
