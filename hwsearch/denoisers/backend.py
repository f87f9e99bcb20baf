"""The torch backend: decodes a (compressed) transformer through the cache it will ship with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hwsearch.decoding.backend import Prediction, Tokens
from hwsearch.decoding.cache import SinkHistory, outside
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.rules import PositionKeeper
from hwsearch.denoisers.transformer import KeyValue, Transformer


class TorchBackend:
    """Decodes with torch. Call `begin` before each generation.

    Args:
        network: the transformer; its weights are read, never changed.
        kept_shares: for each layer the share of cached positions it keeps; 1.0 keeps all. Plain
            numbers are kept by the default rule.
    """

    def __init__(self, network: Transformer, kept_shares: Sequence[float]) -> None:
        self.network = network
        self.kept_shares = KeptShares.of(kept_shares)
        self._keepers: dict[int, PositionKeeper] = {}
        self._past: list[KeyValue] = []
        self._before: Tensor | None = None

    def begin(self, history: Mapping[int, SinkHistory] | None = None) -> None:
        """Forget the sink scores of the generation before, or take up a recorded history."""
        self._keepers = {
            layer: PositionKeeper(self.kept_shares, layer, history[layer] if history else None)
            for layer in self.kept_shares.pruned
        }

    def history(self) -> dict[int, SinkHistory]:
        """What each pruned layer has seen so far; empty before the first refresh."""
        return {i: k.history for i, k in self._keepers.items() if k.history is not None}

    def refresh(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        """A full pass; see `hwsearch.decoding.backend.Backend`."""
        return predict(self.refresh_logits(tokens, start, stop))

    def step(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        """The block's rows against the cache; see `hwsearch.decoding.backend.Backend`."""
        return predict(self.step_logits(tokens, start, stop))

    @torch.inference_mode()
    def refresh_logits(self, tokens: Tokens, start: int, stop: int) -> Tensor:
        """The logits behind `refresh`, ``[batch, block, vocab]``, for whoever measures a loss."""
        kept = self.kept_shares
        rows = slice(start, stop) if kept.wants_query else None
        state = self.network.refresh(
            self._tensor(tokens), kept.wants_mass | kept.wants_query, query_rows=rows
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
        return self._logits(self.network.step(block, start, self._past))

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


def predict(logits: Tensor) -> Prediction:
    """The most probable token of each position and its softmax probability."""
    best, token = logits.max(dim=-1)
    confidence = (best - logits.logsumexp(dim=-1)).exp()
    return Prediction(token.cpu().numpy(), confidence.cpu().numpy())
