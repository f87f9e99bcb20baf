"""The backend that suits a network: cached passes where it has them, full passes where not."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from hwsearch.decoding.backend import GREEDY, Prediction, ResumableBackend, Sampling, Tokens
from hwsearch.decoding.cache import ALMOST_ALL, SinkHistory
from hwsearch.decoding.kept import KeptShares
from hwsearch.decoding.passes import WHOLE, Scope
from hwsearch.denoisers.activation_cache import ActivationCache
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network, OwnNetwork
from hwsearch.denoisers.torch_backend import TokenChooser, TorchBackend
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError, PlanError
from hwsearch.forecast.fitting import JudgedForecast


class FullPassBackend:
    """Decodes any network by running all positions in every pass; nothing is cached.

    Args:
        network: the network.
        kept: shares of 1.0 for each layer: without a cache nothing can be dropped.
            `ALMOST_ALL` records the sinks, if the network tells its attention mass.
        differentiable: whether gradients may flow through the logits.

    Raises:
        PlanError: a layer shall drop cached positions.
    """

    def __init__(self, network: Network, kept: KeptShares, differentiable: bool = False) -> None:
        self.network = network
        self._differentiable = differentiable
        self.kept = kept
        self._choose = TokenChooser()
        self._record = bool(kept.pruned)
        self._history: dict[int, SinkHistory] = {}
        for layer, share in enumerate(kept.shares):
            if share < ALMOST_ALL:
                raise PlanError(
                    f"layer {layer}: this network has full passes only, and dropping cached "
                    f"positions needs cached ones (kept share {share}); "
                    "leave sink_threshold at 1.0, or bring the model in Llama form"
                )

    def begin(
        self,
        history: Mapping[int, SinkHistory] | None = None,
        frozen: Hashable = None,
        *,
        sampling: Sampling = GREEDY,
    ) -> None:
        """Forget what was seen of the generation before; nothing is cached."""
        if sampling.hidden:
            raise InputError(
                "this network does not hand out its final hidden states; foresee its passes by a method "
                "that looks at logits alone: reuse, history or ridge"
            )
        self._choose = TokenChooser(sampling)
        self._history = {}

    @property
    def forecast(self) -> JudgedForecast | None:
        """What passes are foreseen by; None where nothing was fitted."""
        return self.network.forecast

    def history(self) -> dict[int, SinkHistory]:
        """What each layer has seen of its sinks; empty where that is not asked for, or not told."""
        return dict(self._history)

    def refresh(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """A full pass; see `hwsearch.decoding.backend.Backend`."""
        _require_whole(scope)
        return self._choose(self.refresh_logits(tokens, start, stop), start)

    def step(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Prediction:
        """A full pass too."""
        return self.refresh(tokens, start, stop, scope)

    def refresh_logits(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Tensor:
        """Logits ``[batch, block, vocab]`` of positions start..stop."""
        _require_whole(scope)
        device = self.network.device
        array = torch.from_numpy(np.require(tokens, requirements=["C", "W"])).to(device)
        with torch.inference_mode(not self._differentiable):
            if self._record:
                self._see(self.network.attention_mass(array))
            logits: Tensor = self.network(array)
            return logits[:, start:stop].float()

    def _see(self, masses: Sequence[Tensor] | None) -> None:
        for layer, mass in enumerate(masses or ()):
            before = self._history.get(layer) or SinkHistory.blank(*mass.shape)
            self._history[layer] = before.seen(mass.float().cpu().numpy())

    def step_logits(self, tokens: Tokens, start: int, stop: int, scope: Scope = WHOLE) -> Tensor:
        """The same: a full pass."""
        return self.refresh_logits(tokens, start, stop, scope)


def _require_whole(scope: Scope) -> None:
    if scope is not WHOLE:
        raise InputError(
            "this network has full passes only: decode it without window and suffix_window, or bring "
            "the model in Llama form"
        )


def backend_of(
    network: Network,
    kept: KeptShares,
    activations: ActivationCache | None = None,
    differentiable: bool = False,
) -> ResumableBackend[Tensor]:
    """A backend of a network, cached where the network can be.

    Args:
        network: a (compressed) network.
        kept: for each layer the share of cached positions it keeps, and by which rule.
        activations: layer outputs on frozen inputs; used where the network runs layer by layer.
        differentiable: whether gradients may flow through the logits.

    Raises:
        PlanError: a layer shall drop cached positions of a network that caches none.
    """
    if isinstance(network, Transformer):
        return TorchBackend(network, kept, activations, differentiable)
    return FullPassBackend(network, kept, differentiable)


def check_tells_mass(denoiser: Denoiser) -> None:
    """Raise `InputError` unless the model's attention mass can be looked at."""
    network = denoiser.network
    if isinstance(network, OwnNetwork) and not hasattr(network.module, "attention_mass"):
        raise InputError(
            f"model {denoiser.name!r} does not tell its attention mass, so its sinks cannot be "
            "looked at; give its module a method attention_mass (see docs/how-to/your-module.md)"
        )
