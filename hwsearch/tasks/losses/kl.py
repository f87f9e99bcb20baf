"""The loss that a search minimises: KL against the uncompressed model on frozen masked states.

States are snapshots of the uncompressed model's own trajectories on calibration problems: the
tokens at a refresh, the tokens a few passes later, and what each layer had seen of its sinks. All
plans are judged on the same states, so the noise of sampling states cancels between plans.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from hwsearch.decoding.backend import Tokens
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.activation_cache import ActivationCache
from hwsearch.denoisers.backends import backend_of
from hwsearch.denoisers.caching.results import remembered
from hwsearch.denoisers.chat.asking import Question
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.large.lockstep import in_step, is_large
from hwsearch.denoisers.network import Network
from hwsearch.denoisers.torch_backend import TorchBackend
from hwsearch.denoisers.transformer import Transformer
from hwsearch.tasks.losses.by_state import StateLoss, in_turn, last
from hwsearch.tasks.losses.frozen_states import STATE_CLASSES, FrozenState, record_states
from hwsearch.tasks.losses.loss import Judged, JudgedLogits
from hwsearch.tasks.losses.pricing.decoded import Decoded
from hwsearch.tasks.losses.sizes import ACTIVATION_BYTES, PER_QUESTION


class FrozenStates:
    """The loss ``kl``: states of a set of problems, and how a compressed network departs on them.

    Idea: a plan that predicts what the uncompressed model predicts, wherever that model goes, writes what
    it writes. Steps: the uncompressed model answers the problems once; at some refreshes, and a few
    passes later, its tokens, log probabilities and sinks are frozen; a plan's loss is the mean KL
    divergence from it over masked positions, refreshes and steps weighed by their shares of all
    passes. All plans see the same states, so the noise of drawing states cancels between them
    (common random numbers).

    Limits: states are those of the uncompressed model, so errors that feed on themselves in a generation
    are not seen; ``studies/proxies`` measures how well the loss ranks plans by accuracy. Source:
    distillation's KL (Hinton et al., arXiv 1503.02531) as a sensitivity measure.

    Args:
        states: the snapshots.
        mask_token_id: only positions that hold it are judged.
        refresh_share: weight of refresh passes in the loss: their share of all passes.
        activation_bytes: memory for layer outputs that other plans may find again.
        written: what the uncompressed model wrote while the snapshots were taken; None where that was
            not kept.
    """

    name = "kl"

    def __init__(
        self,
        states: Sequence[FrozenState],
        mask_token_id: int,
        refresh_share: float,
        activation_bytes: int = ACTIVATION_BYTES,
        written: Decoded | None = None,
    ) -> None:
        self.states = tuple(states)
        self.mask_token_id = mask_token_id
        self.refresh_share = refresh_share
        self.activations = ActivationCache(activation_bytes)
        self.written = written

    @classmethod
    def record(
        cls,
        denoiser: Denoiser,
        questions: Sequence[Question],
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
        prompts = [denoiser.given(question) for question in questions]
        decoding = denoiser.decoding.scheduled()
        states, written = remembered(
            "states",
            denoiser,
            [repr((prompts, per_question, batch, seed))],
            lambda: record_states(denoiser, prompts, per_question, batch, seed),
            STATE_CLASSES,
        )
        share = decoding.refreshes / decoding.steps
        return cls(states, denoiser.mask_token_id, share, written=Decoded(decoding, written))

    @property
    def cost(self) -> float:
        """Work of one `loss`, in full passes over one sequence."""
        return sum(_passes(state) for state in self.states)

    def loss(self, network: Network, kept: KeptShares) -> float:
        """Mean KL divergence from the uncompressed model, in nats per masked position."""
        return last(self.by_state(network, kept))

    def by_state(self, network: Network, kept: KeptShares) -> Iterator[StateLoss]:
        """The loss, state by state; see `hwsearch.tasks.losses.GradualLoss`."""
        if isinstance(network, Transformer) and is_large(network):
            measure = self._side_by_side(network, kept)
        else:
            backend = backend_of(network, kept, self.activations)

            def measure(index: int) -> _Divergence:
                state = self.states[index]
                backend.begin(state.history, frozen=index)
                span, step = (state.start, state.stop), None
                refresh = backend.refresh_logits(state.at_refresh, *span)
                if state.at_step is not None:
                    step = backend.step_logits(state.at_step, *span)
                return self._diverged(state, refresh, step)

        def describe(part: _Divergence) -> tuple[float, float, float]:
            refresh, step = self._per_mask
            weight = refresh * part.refresh_count + step * part.step_count
            loss = refresh * part.refresh + step * part.step
            return (loss / weight if weight else 0.0), weight, part.work

        yield from in_turn(self.order, measure, describe, self._total)

    def judged(
        self, network: Network, kept: KeptShares | None = None
    ) -> Iterator[list[JudgedLogits]]:
        """Differentiable logits; see `hwsearch.tasks.losses.loss.DivergenceLoss`."""
        kept = kept or KeptShares.keeping_all(len(network.linear_groups().layers))
        backend = backend_of(network, kept, differentiable=True)
        refresh, step = self._per_mask
        for state in self.states:
            backend.begin(state.history)
            span = (state.start, state.stop)
            passes = [(state.at_refresh, backend.refresh_logits, refresh)]
            if state.at_step is not None:
                passes.append((state.at_step, backend.step_logits, step))
            yield [
                JudgedLogits(run(tokens, *span), share * self._masked(tokens, *span).double())
                for tokens, run, share in passes
            ]

    def _side_by_side(self, network: Transformer, kept: KeptShares) -> Callable[[int], _Divergence]:
        """Measures states several at a time, so that each layer's weights become floats once for all."""
        known: dict[int, _Divergence] = {}
        groups = list(self._groups(network))

        def measure(index: int) -> _Divergence:
            if index not in known:
                together = next(group for group in groups if index in group)
                known.update(zip(together, self._measured(network, kept, together), strict=True))
            return known[index]

        return measure

    def _groups(self, network: Transformer) -> Iterator[list[int]]:
        """States in the order in which they are judged, as many as caches fit into memory together."""
        g, taken = network.geometry, 0
        group: list[int] = []
        for index in self.order:
            size = 8 * self.states[index].at_refresh.size * g.num_layers * g.kv_size
            if group and taken + size > self.activations.limit_bytes:
                yield group
                group, taken = [], 0
            group.append(index)
            taken += size
        yield group

    def _measured(
        self, network: Transformer, kept: KeptShares, indices: Sequence[int]
    ) -> list[_Divergence]:
        """States of one group: all their refreshes layer by layer, then all their steps."""
        states = [self.states[index] for index in indices]
        backends = [TorchBackend(network, kept) for _ in states]
        for backend, state in zip(backends, states, strict=True):
            backend.begin(state.history)
        pairs = list(zip(backends, states, strict=True))
        refreshed = in_step(
            [b.refreshing(state.at_refresh, state.start, state.stop) for b, state in pairs]
        )
        later = [(b, s, s.at_step) for b, s in pairs if s.at_step is not None]
        stepped = iter(in_step([b.stepping(tokens, s.start, s.stop) for b, s, tokens in later]))
        return [
            self._diverged(state, logits, None if state.at_step is None else next(stepped))
            for state, logits in zip(states, refreshed, strict=True)
        ]

    def _diverged(self, state: FrozenState, refresh: Tensor, step: Tensor | None) -> _Divergence:
        """KL of logits ``[batch, block, vocab]`` of a state's passes."""
        span = (state.start, state.stop)
        first = state.refresh_logp.divergence(refresh, self._masked(state.at_refresh, *span))
        second = 0.0, 0
        if step is not None and state.at_step is not None and state.step_logp is not None:
            second = state.step_logp.divergence(step, self._masked(state.at_step, *span))
        return _Divergence(*first, *second, _passes(state))

    @property
    def judges(self) -> Judged:
        """What it judges; see `hwsearch.tasks.losses.loss.DivergenceLoss`."""
        tokens = [t for s in self.states for t in (s.at_refresh, s.at_step) if t is not None]
        return Judged.of(self.name, tokens, len(self.states))

    @cached_property
    def order(self) -> list[int]:
        """States, those that a loss is expected to come from first, for their work.

        Where the uncompressed model is sure of its tokens, compression changes little; so its
        entropy at the masked positions says how much a state will add.
        """
        worth = [
            sum(
                share * entropy
                for share, (entropy, _) in zip(self._per_mask, self._entropies(state), strict=True)
            )
            / _passes(state)
            for state in self.states
        ]
        return sorted(range(len(worth)), key=lambda index: -worth[index])

    @cached_property
    def _per_mask(self) -> tuple[float, float]:
        """What one masked position counts in the loss, at a refresh and at a later pass."""
        counts = [[count for _, count in self._entropies(state)] for state in self.states]
        refresh, step = (sum(column) for column in zip(*counts, strict=True))
        return self.refresh_share / max(1, refresh), (1 - self.refresh_share) / max(1, step)

    def _entropies(self, state: FrozenState) -> tuple[tuple[float, int], tuple[float, int]]:
        """Entropy of the uncompressed model over masked positions, and their number, by pass."""
        span = (state.start, state.stop)
        refresh = state.refresh_logp.entropy(self._masked(state.at_refresh, *span))
        if state.at_step is None or state.step_logp is None:
            return refresh, (0.0, 0)
        return refresh, state.step_logp.entropy(self._masked(state.at_step, *span))

    def _total(self, parts: Sequence[_Divergence]) -> float:
        refresh = _mean([(part.refresh, part.refresh_count) for part in parts])
        step = _mean([(part.step, part.step_count) for part in parts])
        return self.refresh_share * refresh + (1 - self.refresh_share) * step

    def _masked(self, tokens: Tokens, start: int, stop: int) -> Tensor:
        return torch.from_numpy(tokens[:, start:stop] == self.mask_token_id)


def _passes(state: FrozenState) -> float:
    batch, length = state.at_refresh.shape
    cached = 0.0 if state.at_step is None else (state.stop - state.start) / length
    return batch * (1 + cached)


@dataclass(frozen=True)
class _Divergence:
    """What one state gives: KL summed over masked positions, and their number, for both passes."""

    refresh: float
    refresh_count: int
    step: float
    step_count: int
    work: float


def _mean(sums: Sequence[tuple[float, int]]) -> float:
    total, count = 0.0, 0
    for value, number in sums:  # not sum(), which rounds otherwise from Python 3.12 on
        total, count = total + value, count + number
    return total / max(1, count)
