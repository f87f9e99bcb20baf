"""The torch backend: decodes a (compressed) transformer through the cache it will ship with."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hwsearch.commit.policy import Credit
from hwsearch.decoding.backend import GREEDY, GumbelNoise, Prediction, Sampling, Tokens
from hwsearch.decoding.cache import SinkHistory, outside
from hwsearch.decoding.kept import KeptShares, Signal
from hwsearch.decoding.passes import WHOLE, Scope
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.denoisers.activation_cache import ActivationCache, Walk
from hwsearch.denoisers.large.lockstep import Pass, run_through
from hwsearch.denoisers.transformer import ALL, KeyValue, Transformer
from hwsearch.forecast.fitting import JudgedForecast


class TorchBackend:
    """Decodes with torch. Call `begin` before each generation.

    Args:
        network: the transformer; its weights are read, never changed.
        kept: for each layer the share of cached positions it keeps, and by which rule.
        activations: layer outputs on frozen inputs, shared by the backends of many plans.
        differentiable: whether gradients may flow through the logits, which takes memory.
    """

    def __init__(
        self,
        network: Transformer,
        kept: KeptShares,
        activations: ActivationCache | None = None,
        differentiable: bool = False,
    ) -> None:
        self.network = network
        self._activations = activations
        self._differentiable = differentiable
        self._frozen: Hashable = None
        self.kept = kept
        self._keepers: dict[int, PositionKeeper] = {}
        self._cache: list[KeyValue] = []
        self._past: dict[tuple[int, int], list[KeyValue]] = {}
        self._before: Tensor | None = None
        self._hidden: Tensor | None = None
        self._choose = TokenChooser()

    @property
    def forecast(self) -> JudgedForecast | None:
        """What passes are foreseen by; None where nothing was fitted."""
        return self.network.forecast

    def begin(
        self,
        history: Mapping[int, SinkHistory] | None = None,
        frozen: Hashable = None,
        *,
        sampling: Sampling = GREEDY,
    ) -> None:
        """Forget the sink scores of the generation before, or take up a recorded history.

        `frozen` names the passes that follow where they have frozen inputs, so that what their
        layers put out can be found again.
        """
        self._choose = TokenChooser(sampling)
        self._frozen = frozen
        self._keepers = {
            layer: PositionKeeper(self.kept, layer, history[layer] if history else None)
            for layer in self.kept.pruned
        }

    def history(self) -> dict[int, SinkHistory]:
        """What each pruned layer has seen so far; empty before the first refresh."""
        return {i: k.history for i, k in self._keepers.items() if k.history is not None}

    def refresh(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """A full pass; see `hwsearch.decoding.backend.Backend`."""
        logits = self.refresh_logits(tokens, start, stop, scope)
        return self._choose(logits, start, self._hidden)

    def step(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """Some rows against the cache; see `hwsearch.decoding.backend.Backend`."""
        logits = self.step_logits(tokens, start, stop, scope)
        return self._choose(logits, start, self._hidden)

    def refresh_logits(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Tensor:
        """The logits behind `refresh`, ``[batch, block, vocab]``, for whoever measures a loss."""
        with torch.inference_mode(not self._differentiable):
            return run_through(self._refreshing(tokens, start, stop, scope))

    def step_logits(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Tensor:
        """The logits behind `step`, ``[batch, block, vocab]``."""
        with torch.inference_mode(not self._differentiable):
            return run_through(self._stepping(tokens, start, stop, scope))

    @torch.inference_mode()
    def refreshing(
        self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE
    ) -> Pass[Tensor]:
        """`refresh_logits`, layer by layer."""
        return (yield from self._refreshing(tokens, start, stop, scope))

    @torch.inference_mode()
    def stepping(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Pass[Tensor]:
        """`step_logits`, layer by layer."""
        return (yield from self._stepping(tokens, start, stop, scope))

    def _refreshing(self, tokens: Tokens, start: int, stop: int, scope: Scope) -> Pass[Tensor]:
        state = yield from self.network.refreshing(
            self._tensor(tokens),
            self.kept.pruned if self.kept.signal else frozenset(),
            self._walk("refresh"),
            query_rows=slice(start, stop) if self.kept.signal is Signal.QUERY else None,
            positions=None if scope.positions is None else self._tensor(scope.positions),
            rows=ALL if scope is WHOLE else self._sources(start, stop),
        )
        self._cache, self._past = state.cache, {}
        for layer, keeper in self._keepers.items():
            signal = state.mass[layer]
            told = None if signal is None else signal.float().cpu().numpy()
            keeper.see(tokens.shape, told, scope.tail)
        yield self.network.lm_head
        if scope is not WHOLE:
            self._before = state.hidden[:, :1]
            return self._logits_from(state.hidden, start)
        self._before = state.hidden[:, max(start - 1, 0) :][:, :1]
        return self._logits(state.hidden[:, start:stop])

    def _stepping(self, tokens: Tokens, start: int, stop: int, scope: Scope) -> Pass[Tensor]:
        first, last = scope.rows or (start, stop)
        if scope.store:
            self._make_room(tokens.shape[1], scope.tail)
        places = np.arange(first, last) if scope.positions is None else scope.positions[first:last]
        state = yield from self.network.windowed(
            self._tensor(tokens[:, first:last]),
            self._tensor(places),
            self._outside(tokens.shape[1], first, last),
            self._walk("step"),
            self.kept.modes,
            rows=ALL if scope is WHOLE else self._sources(start - first, stop - first),
        )
        if scope.store:
            self._cache = [
                _placed(*pair, first) for pair in zip(self._cache, state.cache, strict=True)
            ]
            self._past = {}
        yield self.network.lm_head
        if scope is WHOLE:
            return self._logits(state.hidden)
        if first < start:
            self._before = state.hidden[:, :1]
        return self._logits_from(state.hidden, start - first)

    def _make_room(self, length: int, tail: int) -> None:
        """Fit what is known to a sequence that shows more positions than before, all to be run."""
        self._past = {}
        for keeper in self._keepers.values():
            keeper.advance(length, tail)

    def _walk(self, kind: str) -> Walk | None:
        if self._activations is None or self._frozen is None:
            return None
        return self._activations.walk((self._frozen, kind))

    def _sources(self, start: int, stop: int) -> slice:
        """The rows that start..stop are predicted from, of those that are run."""
        shift = self.network.geometry.logit_shift
        return slice(max(start - shift, 0), stop - shift)

    def _logits_from(self, sources: Tensor, start: int) -> Tensor:
        """Logits of the block that begins at a row, from the states of its `_sources`."""
        if self.network.geometry.logit_shift and start == 0:
            assert self._before is not None, "refresh comes first"
            sources = torch.cat((self._before, sources), dim=1)
        self._hidden = sources
        return self.network.lm_head(sources).float()

    def _logits(self, hidden: Tensor) -> Tensor:
        """Logits of the block from the final hidden states of its rows."""
        if self.network.geometry.logit_shift:
            # like its keys and values, the state before the block stands still until it is run
            assert self._before is not None, "refresh comes first"
            hidden = torch.cat((self._before, hidden[:, :-1]), dim=1)
        self._hidden = hidden
        return self.network.lm_head(hidden).float()

    def _outside(self, length: int, first: int, last: int) -> list[KeyValue]:
        """Keys and values of the positions that each layer keeps of a sequence, outside first..last."""
        if (first, last) not in self._past:
            self._past[first, last] = [
                self._gathered(cache, self._kept(layer, (len(cache.key), length), first, last))
                for layer, cache in enumerate(self._cache)
            ]
        return self._past[first, last]

    def _kept(self, layer: int, shape: tuple[int, int], first: int, last: int) -> NDArray[np.int64]:
        """Positions ``[batch, kept]`` that a layer keeps outside first..last."""
        if layer in self._keepers:
            return self._keepers[layer].choose(shape, first, last)
        return outside(*shape, first, last)

    def _gathered(self, cache: KeyValue, kept: NDArray[np.int64]) -> KeyValue:
        """The keys and values of some positions ``[batch, kept]``."""
        _, heads, _, size = cache.key.shape
        index = self._tensor(kept)[:, None, :, None].expand(-1, heads, -1, size)
        return KeyValue(cache.key.gather(2, index), cache.value.gather(2, index))

    def _tensor(self, array: np.ndarray) -> Tensor:
        device = self.network.device
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)


def _placed(cache: KeyValue, fresh: KeyValue, first: int) -> KeyValue:
    """A cache with fresh keys and values in it from a position on; the old one is left alone."""
    last = first + fresh.key.shape[2]
    return KeyValue(
        *(
            torch.cat((old[:, :, :first], new, old[:, :, last:]), dim=2)
            for old, new in zip(cache, fresh, strict=True)
        )
    )


class TokenChooser:
    """Predictions of one generation's logits; noise, credit and the pass before included."""

    def __init__(self, sampling: Sampling = GREEDY) -> None:
        self._sampling = sampling
        self._noise = GumbelNoise(sampling)
        self._start: int | None = None
        self._credit: Tensor | None = None
        self._logp: Tensor | None = None

    def __call__(self, logits: Tensor, start: int = 0, hidden: Tensor | None = None) -> Prediction:
        """Prediction of logits ``[batch, block, vocab]`` of the block that begins at `start`.

        `hidden` is what they are of, for samplings that ask for it.
        """
        if self._sampling == GREEDY:
            return predict(logits)
        raw = logits
        if start != self._start:
            self._start, self._credit, self._logp = start, None, None
        if self._sampling.credit is not None:
            logits, self._credit = credited(logits, self._credit, self._sampling.credit)
        noise = None
        if self._sampling.temperature > 0:
            noise = torch.from_numpy(self._noise.draw(*logits.shape)).to(logits.device)
        token, confidence = choose_tokens(logits, self._sampling, noise)
        return Prediction(
            token.cpu().numpy(),
            confidence.cpu().numpy(),
            entropy_of(logits).cpu().numpy() if self._sampling.entropy else None,
            self._moved(logits) if self._sampling.divergence else None,
            raw.cpu().numpy() if self._sampling.logits else None,
            hidden.float().cpu().numpy() if self._sampling.hidden and hidden is not None else None,
        )

    def _moved(self, logits: Tensor) -> NDArray[np.float32]:
        """KL from the distributions of the pass before, ``[batch, block]``."""
        logp = logits.log_softmax(dim=-1)
        before, self._logp = self._logp, logp
        if before is None:
            return np.full(logp.shape[:2], np.inf, dtype=np.float32)
        moved: NDArray[np.float32] = divergence_of(logp, before).cpu().numpy()
        return moved


def credited(logits: Tensor, credit: Tensor | None, rule: Credit) -> tuple[Tensor, Tensor]:
    """Logits with what their tokens have earned, and the credit; both ``[batch, block, vocab]``."""
    best, token = logits.softmax(dim=-1).max(dim=-1, keepdim=True)
    earned = (torch.arange(logits.shape[-1], device=logits.device) == token) * best**rule.exponent
    credit = earned if credit is None else rule.decay * credit + earned
    return logits + rule.weight * torch.log1p(credit), credit


def entropy_of(logits: Tensor) -> Tensor:
    """Entropy in nats, ``[batch, block]``."""
    logp = logits.log_softmax(dim=-1)
    return -(logp.exp() * logp).sum(dim=-1)


def divergence_of(logp: Tensor, before: Tensor) -> Tensor:
    """KL(now ‖ before) in nats of log-probabilities ``[batch, block, vocab]``; ``[batch, block]``."""
    return (logp.exp() * (logp - before)).sum(dim=-1)


def predict(logits: Tensor) -> Prediction:
    """The most probable token of each position and its softmax probability."""
    best, token = logits.max(dim=-1)
    confidence = (best - logits.logsumexp(dim=-1)).exp()
    return Prediction(token.cpu().numpy(), confidence.cpu().numpy())


def choose_tokens(
    logits: Tensor, sampling: Sampling, noise: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Token and confidence, each ``[batch, block]``, of logits ``[batch, block, vocab]``.

    Args:
        logits: of one block.
        sampling: how tokens are chosen, and what confidence is.
        noise: float64, in the logits' shape; None where the temperature is 0.
    """
    token = (logits if noise is None else logits.double() + noise).argmax(dim=-1)
    scale = sampling.temperature if sampling.tempered else 1.0
    probability = (logits / scale).softmax(dim=-1)
    if sampling.confidence == "entropy":
        return token, (probability * (probability + TINY).log()).sum(dim=-1)
    if sampling.confidence == "margin":
        first, second = probability.topk(2, dim=-1).values.unbind(dim=-1)
        return token, first - second
    return token, probability.gather(-1, token[..., None])[..., 0]


#: Added to a probability before its logarithm, as Dream does.
TINY = 1e-10
