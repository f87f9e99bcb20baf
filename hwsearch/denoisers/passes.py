"""The backend that suits a network: cached passes where it has them, full passes where not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hwsearch.decoding.backend import Prediction, Tokens
from hwsearch.decoding.cache import ALMOST_ALL, SinkHistory
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.backend import TorchBackend, predict
from hwsearch.denoisers.network import Network
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import PlanError


class FullPassBackend:
    """Decodes any network by running all positions in every pass; nothing is cached.

    Args:
        network: the network.
        kept_shares: one for each layer, and all 1.0: without a cache nothing can be dropped.

    Raises:
        PlanError: a layer shall drop cached positions.
    """

    def __init__(self, network: Network, kept_shares: Sequence[float]) -> None:
        self.network = network
        self.kept_shares = KeptShares.of(kept_shares)
        for layer, share in enumerate(self.kept_shares):
            if share < ALMOST_ALL:
                raise PlanError(
                    f"layer {layer}: this network has full passes only, and dropping cached "
                    f"positions needs cached ones (kept share {share}); "
                    "leave sink_threshold at 1.0, or bring the model in Llama form"
                )

    def begin(self, history: Mapping[int, SinkHistory] | None = None) -> None:
        """Nothing to forget."""

    def history(self) -> dict[int, SinkHistory]:
        """Empty: attention is not seen from outside."""
        return {}

    def refresh(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        """A full pass; see `hwsearch.decoding.backend.Backend`."""
        return predict(self.refresh_logits(tokens, start, stop))

    def step(self, tokens: Tokens, start: int, stop: int) -> Prediction:
        """A full pass too."""
        return self.refresh(tokens, start, stop)

    @torch.inference_mode()
    def refresh_logits(self, tokens: Tokens, start: int, stop: int) -> Tensor:
        """Logits ``[batch, block, vocab]`` of positions start..stop."""
        device = next(self.network.parameters()).device
        array = np.require(tokens, requirements=["C", "W"])
        logits: Tensor = self.network(torch.from_numpy(array).to(device))
        return logits[:, start:stop].float()

    def step_logits(self, tokens: Tokens, start: int, stop: int) -> Tensor:
        """The same: a full pass."""
        return self.refresh_logits(tokens, start, stop)


def backend_of(network: Network, kept_shares: Sequence[float]) -> TorchBackend | FullPassBackend:
    """A backend of a network, cached where the network can be.

    Args:
        network: a (compressed) network.
        kept_shares: for each layer the share of cached positions it keeps; 1.0 keeps all.

    Raises:
        PlanError: a layer shall drop cached positions of a network that caches none.
    """
    if isinstance(network, Transformer):
        return TorchBackend(network, kept_shares)
    return FullPassBackend(network, kept_shares)
