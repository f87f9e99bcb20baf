"""The torch backend: decodes a (compressed) transformer through the cache it will ship with."""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import numpy as np
import torch
from torch import Tensor

from hwsearch.decoding.backend import GREEDY, GumbelNoise, Prediction, Sampling, Tokens
from hwsearch.decoding.cache import SinkHistory, outside
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.decoding.signals import Signal
from hwsearch.denoisers.activation_cache import ActivationCache, Walk
from hwsearch.denoisers.transformer import KeyValue, Transformer


class TorchBackend:
    """Decodes with torch. Call `begin` before each generation.

    Args:
        network: the transformer; its weights are read, never changed.
        kept: for each layer the share of cached positions it keeps, and by which rule.
        activations: layer outputs on frozen inputs, shared by the backends of many plans.
    """

    def __init__(
        self, network: Transformer, kept: KeptShares, activations: ActivationCache | None = None
    ) -> None:
        self.network = network
        self._activations = activations
        self._frozen: Hashable = None
        self.kept = kept
        self._keepers: dict[int, PositionKeeper] = {}
        self._past: list[KeyValue] = []
        self._before: Tensor | None = None
        self._choose = TokenChooser()

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

    def refresh(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        """A full pass; see `hwsearch.decoding.backend.Backend`."""
        return self._choose(self.refresh_logits(tokens, start, stop))

    def step(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        """The block's rows against the cache; see `hwsearch.decoding.backend.Backend`."""
        return self._choose(self.step_logits(tokens, start, stop))

    @torch.inference_mode()
    def refresh_logits(self, tokens: Tokens, start: int, stop: int) -> Tensor:
        """The logits behind `refresh`, ``[batch, block, vocab]``, for whoever measures a loss."""
        state = self.network.refresh(
            self._tensor(tokens),
            self.kept.pruned if self.kept.signal else frozenset(),
            self._walk("refresh"),
            query_rows=slice(start, stop) if self.kept.signal is Signal.QUERY else None,
        )
        self._past = [
            self._shorten(layer, cache, signal, start, stop)
            for layer, (cache, signal) in enumerate(zip(state.cache, state.mass, strict=True))
        ]
        self._before = state.hidden[:, max(start - 1, 0) :][:, :1]
        return self._logits(state.hidden[:, start:stop])

    @torch.inference_mode()
    def step_logits(self, tokens: Tokens, start: int, stop: int) -> Tensor:
        """The logits behind `step`, ``[batch, block, vocab]``."""
        block = self._tensor(tokens[:, start:stop])
        walk = self._walk("step")
        return self._logits(self.network.step(block, start, self._past, walk, self.kept.modes))

    def _walk(self, kind: str) -> Walk | None:
        if self._activations is None or self._frozen is None:
            return None
        return self._activations.walk((self._frozen, kind))

    def _logits(self, hidden: Tensor) -> Tensor:
        """Logits of the block from the final hidden states of its rows."""
        if self.network.geometry.logit_shift:
            # like its keys and values, the state before the block stands still until a refresh
            assert self._before is not None, "refresh comes first"
            hidden = torch.cat((self._before, hidden[:, :-1]), dim=1)
        return self.network.lm_head(hidden).float()

    def _shorten(
        self, layer: int, cache: KeyValue, signal: Tensor | None, start: int, stop: int
    ) -> KeyValue:
        """The keys and values of the positions that a layer keeps, outside the block."""
        batch, heads, length, size = cache.key.shape
        if layer in self._keepers:
            seen = None if signal is None else signal.float().cpu().numpy()
            kept = self._keepers[layer].refresh((batch, length), start, stop, seen)
        else:
            kept = outside(batch, length, start, stop)
        index = self._tensor(kept)[:, None, :, None].expand(-1, heads, -1, size)
        return KeyValue(cache.key.gather(2, index), cache.value.gather(2, index))

    def _tensor(self, array: np.ndarray) -> Tensor:
        device = self.network.lm_head.weight.device
        return torch.from_numpy(np.require(array, requirements=["C", "W"])).to(device)


class TokenChooser:
    """Predictions of one generation's logits, noise included."""

    def __init__(self, sampling: Sampling = GREEDY) -> None:
        self._sampling = sampling
        self._noise = GumbelNoise(sampling)

    def __call__(self, logits: Tensor) -> Prediction:
        """Prediction of logits ``[batch, block, vocab]``."""
        if self._sampling == GREEDY:
            return predict(logits)
        noise = None
        if self._sampling.temperature > 0:
            noise = torch.from_numpy(self._noise.draw(*logits.shape)).to(logits.device)
        token, confidence = choose_tokens(logits, self._sampling, noise)
        return Prediction(token.cpu().numpy(), confidence.cpu().numpy())


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
