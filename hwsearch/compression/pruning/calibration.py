"""What inputs a network's linears see at several noise levels, rows of sink positions weighed.

Masses are looked at first, weights of rows are made of them, then the inputs are added up: two
passes over each calibration state. (arXiv 2602.17664 and its released code.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from hwsearch.compression.noise_levels import EPS, TIMES
from hwsearch.decoding.batches import Given, Prompt
from hwsearch.decoding.cache import soft_scores
from hwsearch.decoding.kept import FIRST
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.errors import InputError

#: Noise levels of one batch of sequences: tokens ``[batch, length]`` each.
Passes = Sequence[Tensor]


@dataclass(frozen=True)
class Activations:
    """Inputs of every linear, added up over calibration, by the linear's path.

    Attributes:
        norms: sum over samples and noise levels of ``‖ω ⊙ X‖₂`` by input, ``[in]``.
        hessians: sum of ``(ωX)ᵀ(ωX)``, ``[in, in]``, ω made of scores averaged over noise levels; empty
            where they were not asked for.
    """

    norms: Mapping[str, Tensor]
    hessians: Mapping[str, Tensor]


def noisy_passes(
    denoiser: Denoiser,
    sequences: Sequence[tuple[Prompt, Sequence[int]]],
    *,
    times: Sequence[float] = TIMES,
    seed: int = 0,
) -> list[Passes]:
    """Masked copies of sequences at several noise levels; each token by ``p = (1 - eps) t + eps``.

    Args:
        denoiser: whose mask token is used.
        sequences: what is given, which stays as it is, and what was written to it, which is masked.
        times: noise levels in 0..1.
        seed: of the masks.

    Returns:
        For each group of sequences of one length, its tokens at each noise level.

    Raises:
        InputError: there are no sequences.
    """
    if not sequences:
        raise InputError("calibrating weights needs at least one sequence; none are given")
    generator = torch.Generator().manual_seed(seed)
    device = denoiser.network.device
    found: list[Passes] = []
    for group in _by_length([(Given.of(prompt), rest) for prompt, rest in sequences]):
        tokens = torch.tensor([given.around(rest) for given, rest in group])
        maskable = torch.zeros_like(tokens, dtype=torch.bool)
        for row, (given, rest) in enumerate(group):
            maskable[row, given.blank(len(rest)).place] = True
        levels = []
        for time in times:
            drawn = torch.rand(tokens.shape, generator=generator) < (1 - EPS) * time + EPS
            levels.append(tokens.masked_fill(drawn & maskable, denoiser.mask_token_id).to(device))
        found.append(levels)
    return found


def text_passes(
    denoiser: Denoiser, sequences: Sequence[tuple[Prompt, Sequence[int]]]
) -> list[Passes]:
    """Sequences as they are, for autoregressive models, which know no mask: one pass over each.

    Args:
        denoiser: on whose device they are put.
        sequences: what is given, and what was written to it.

    Raises:
        InputError: there are no sequences.
    """
    if not sequences:
        raise InputError("calibrating weights needs at least one sequence; none are given")
    device = denoiser.network.device
    groups = _by_length([(Given.of(prompt), rest) for prompt, rest in sequences])
    return [
        [torch.tensor([given.around(rest) for given, rest in group], device=device)]
        for group in groups
    ]


def _by_length(
    sequences: Sequence[tuple[Given, Sequence[int]]], most: int = 16
) -> list[list[tuple[Given, Sequence[int]]]]:
    groups: dict[int, list[list[tuple[Given, Sequence[int]]]]] = {}
    for given, rest in sequences:
        same = groups.setdefault(len(given) + len(rest), [[]])
        if len(same[-1]) == most:
            same.append([])
        same[-1].append((given, rest))
    return [group for same in groups.values() for group in same]


class WeightCalibration:
    """Activations of a denoiser, by what sink rows count for; each is added up when first asked for.

    Args:
        denoiser: the uncompressed model.
        batches: calibration states, as `noisy_passes` makes them.
        seed: of ``random`` pruning.
    """

    def __init__(self, denoiser: Denoiser, batches: Sequence[Passes], seed: int = 0) -> None:
        self.denoiser = denoiser
        self.batches = tuple(batches)
        self.seed = seed
        self._found: dict[tuple[str, bool], Activations] = {}
        self._masses: list[np.ndarray] | None = None

    def activations(self, sinks: str, hessians: bool = False) -> Activations:
        """Activations where sink rows count as `hwsearch.plan.WeightPruning` says.

        Hessians take 8 bytes for each pair of a linear's inputs.

        Raises:
            InputError: rows shall be weighed by sinks, and the model offers no attention.
        """
        if (sinks, hessians) not in self._found:
            self._found[sinks, hessians] = self._add_up(sinks, hessians)
        return self._found[sinks, hessians]

    @torch.inference_mode()
    def _add_up(self, sinks: str, hessians: bool) -> Activations:
        network = self.denoiser.network
        paths = network.linear_groups().paths()
        sums, omegas = _Accumulator(hessians), self._weights(sinks)
        with ExitStack() as stack:
            for path in paths:
                module = network.get_submodule(path)
                hook = module.register_forward_pre_hook(sums.hook(path, _layer_of(network, path)))
                stack.callback(hook.remove)
            for passes, weights in zip(self.batches, omegas, strict=True):
                mean = None if weights is None else weights.mean(dim=0)
                for level, tokens in enumerate(passes):
                    sums.each = None if weights is None else weights[level]
                    sums.mean = mean
                    network(tokens)
        return Activations(sums.norms, sums.hessians)

    def _weights(self, sinks: str) -> Sequence[Tensor | None]:
        """ω of each batch, ``[levels, layers, batch, length]``; None where all rows count alike."""
        if sinks == "ignore":
            return [None] * len(self.batches)
        device = self.denoiser.network.device
        return [
            torch.from_numpy(row_weights(mass, sinks)).float().to(device) for mass in self.masses()
        ]

    @torch.inference_mode()
    def masses(self) -> list[np.ndarray]:
        """Attention masses of each batch, ``[levels, layers, batch, length]``."""
        if self._masses is None:
            network = self.denoiser.transformer
            every = frozenset(range(self.denoiser.num_layers))
            self._masses = [
                np.array(
                    [[_numpy(m) for m in network.refresh(tokens, every).mass] for tokens in batch]
                )
                for batch in self.batches
            ]
        return self._masses


def row_weights(mass: np.ndarray, sinks: str) -> np.ndarray:
    """What each row counts for: ``ω = 1 - s``, or ``1 + s`` where sinks are to be preserved.

    Args:
        mass: attention masses ``[levels, layers, batch, length]``.
        sinks: ``global`` sums masses over layers into one score, as the paper's code does; ``layer``
            and ``preserve`` score each layer by its own. ``preserve`` counts the first tokens as sinks.
    """
    if sinks == "global":
        scores = soft_scores(mass.sum(axis=1, keepdims=True))
        return np.broadcast_to(1.0 - scores, mass.shape).copy()
    scores = soft_scores(mass)
    if sinks == "preserve":
        scores[..., :FIRST] = 1.0
        return 1.0 + scores
    return 1.0 - scores


class _Accumulator:
    """Running sums over linears, fed by hooks; `each` and `mean` are ω of the present pass."""

    def __init__(self, hessians: bool) -> None:
        self._want_hessians = hessians
        self.norms: dict[str, Tensor] = {}
        self.hessians: dict[str, Tensor] = {}
        self.each: Tensor | None = None
        self.mean: Tensor | None = None

    def hook(self, path: str, layer: int | None) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        """Counts the inputs of one linear; the head, which has no layer, counts all rows alike."""

        def count(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            x = inputs[0].float()
            each, mean = (
                x if omega is None or layer is None else omega[layer][..., None] * x
                for omega in (self.each, self.mean)
            )
            self.norms[path] = each.norm(dim=-2).sum(dim=0).double() + self.norms.get(path, 0.0)
            if self._want_hessians:
                rows = mean.flatten(0, -2).double()
                self.hessians[path] = rows.T @ rows + self.hessians.get(path, 0.0)

        return count


def _layer_of(network: Network, path: str) -> int | None:
    for index, layer in enumerate(network.linear_groups().layers):
        if any(path in paths for paths in layer.values()):
            return index
    return None


def _numpy(mass: Tensor | None) -> np.ndarray:
    assert mass is not None, "every layer's mass was asked for"
    return mass.float().cpu().numpy()
