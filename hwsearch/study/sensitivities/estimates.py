"""Estimates of what each format costs in each layer, before any plan was tried.

Let a format put an error ``E`` on the outputs of a layer's linears (both its weights and its inputs
are rounded), and let ``G`` be the gradient of ``log p(y)`` at these outputs, ``y`` a token that the
uncompressed model may predict at a judged position. The divergence from the uncompressed model is
flat at itself: its first derivative is zero. Its second is the Fisher information, so

    KL ≈ 1/2 · E_y [(Σ_rows G · E)²],

and the mean over judged positions is the loss that the format adds alone. The expectation over ``y`` is
taken by random signs (Hutchinson's estimator): with ``s_y = ±1`` the gradient of ``Σ_y s_y √p(y)
log p(y)``, ``p`` before the logarithm held fixed, has the same mean square, and one backward pass
gives it for all positions of a sequence together, since signs of different positions are
independent. Rows are summed before they are squared: a rounded weight errs alike in every row.

Source: the second-order term of Optimal Brain Surgeon (Hassibi and Stork 1992), with the Fisher
information for the curvature (Martens, arXiv 1412.1193) and random signs (Hutchinson 1990).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor, nn

from hwsearch.denoisers.large.lockstep import is_large
from hwsearch.denoisers.network import Network
from hwsearch.formats.catalog import simulate
from hwsearch.plan import SHORT_FORMS, WeightFormat
from hwsearch.progress import each
from hwsearch.study.sensitivities.capture import Calls, LinearCall, LinearCapture, held_bytes
from hwsearch.study.sensitivities.dropping import attention_outputs, dropping_losses
from hwsearch.study.sensitivities.effort import draws_of, passes_made
from hwsearch.study.sensitivities.movement import Movement, expected_loss
from hwsearch.study.sensitivities.pruning import PruningChoices, SmallerLayers
from hwsearch.study.sensitivities.table import ByFormat, BySize, ByThreshold, Sensitivities
from hwsearch.tasks.losses.loss import DivergenceLoss, JudgedLogits

KeyT = TypeVar("KeyT")

#: Memory for what linears read and what flows back to them, kept of a sweep; a single group of a layer may
#: take more.
MEMORY_BYTES = 2 << 30


#: Makes a linear as it computes in a format, of its path and the linear itself.
Rounded = Callable[[str, nn.Linear, WeightFormat], nn.Module]


def to_nearest(_path: str, linear: nn.Linear, fmt: WeightFormat) -> nn.Module:
    """A linear whose weights are rounded each to the nearest."""
    return simulate(linear, fmt)


@dataclass(frozen=True)
class _Unit:
    """What a plan gives one format: a group of a layer, or the head, whose layer is None."""

    layer: int | None
    group: str
    paths: tuple[str, ...]


def measure_sensitivities(
    network: Network,
    loss: DivergenceLoss,
    formats: Sequence[WeightFormat],
    *,
    groups: Sequence[str] = tuple(SHORT_FORMS),
    pruning: PruningChoices | None = None,
    draws: int | None = None,
    seed: int = 0,
    rounded: Rounded = to_nearest,
) -> Sensitivities:
    """Estimate the loss of every choice of a format, a sink threshold and a size in every layer.

    Idea: a format's error at a layer moves the predictions by its product with a gradient, and the
    divergence is half the square of that. Steps: the uncompressed model runs over the loss's states
    once, and back once a direction; then each linear is rounded in each format, and its error on
    what it read is held against what flowed back. A layer that drops cached positions errs at the output
    of its attention; one more pass a threshold shows all layers' errors. One with fewer heads or channels
    errs there or at the output of its mlp, by a linear that knows fewer inputs. What does not fit into memory
    is left to a further sweep, the last layers first, so large models are done a layer at a time.

    Limits: errors are taken to be small and each format to be alone; where predictions saturate, a
    format that ruins a layer costs less than estimated. ``studies/sensitivities`` measures how well
    the estimates rank single choices.

    Args:
        network: the uncompressed model's; it gets hooks meanwhile, and is left as it was.
        loss: its states.
        formats: what is estimated; ``fp32`` adds nothing.
        groups: linears of a layer that have one format together, by `hwsearch.plan.LINEAR_GROUPS` or
            short forms.
        pruning: sink thresholds and sizes of layers that are estimated, too.
        draws: random directions a state; None takes `effort.DRAWS`, and more for few sequences.
        seed: of the directions.
        rounded: makes linears in a format.

    Raises:
        InputError: the network names as one what `groups` tell apart.
    """
    draws, pruning = draws or draws_of(loss.cost), pruning or PruningChoices()
    lossy = [fmt for fmt in dict.fromkeys(formats) if fmt is not WeightFormat.FP32]
    layers = network.linear_groups().joined(groups)
    units = _units(layers, network.linear_groups().head)
    ends, found, sweeps, runs = attention_outputs(network), _Found(), 0, 0
    while left := [unit for unit in units if unit not in found.formats]:
        watched, states = _sweep(network, loss, left, draws, seed)
        sweeps += 1
        for unit in each(watched, "rounding for sensitivities", len(watched)):
            found.formats[unit] = _estimates(network, unit, states, lossy, rounded)
        seen = {path for unit in watched for path in unit.paths}
        here = {layer: path for layer, path in ends.items() if path in seen}
        dropped = pruning.dropping if here else {}
        runs += len(dropped)
        for threshold, kept in dropped.items():
            for layer, nats in dropping_losses(network, loss, kept, here, states).items():
                found.thresholds.setdefault(layer, {})[threshold] = nats
        if pruning.smaller is not None:
            found.add_sizes(_sizes(network, seen, states, pruning.smaller))
    cost = passes_made(loss.cost, sweeps, draws, len(lossy), runs, is_large(network))
    return found.table([tuple(layer) for layer in layers], lossy, cost)


def _units(layers: Sequence[Mapping[str, tuple[str, ...]]], head: str | None) -> list[_Unit]:
    """In the order in which a pass runs them."""
    units = [
        _Unit(index, group, paths)
        for index, layer in enumerate(layers)
        for group, paths in layer.items()
        if paths
    ]
    return units if head is None else [*units, _Unit(None, "head", (head,))]


@dataclass
class _Found:
    """Losses so far: of formats by unit, of sink thresholds and sizes by layer."""

    formats: dict[_Unit, ByFormat] = field(default_factory=dict)
    thresholds: dict[int, ByThreshold] = field(default_factory=dict)
    sizes: dict[int, BySize] = field(default_factory=dict)

    def add_sizes(self, found: Mapping[int, BySize]) -> None:
        """Add those of some fields and layers."""
        for layer, by_field in found.items():
            self.sizes.setdefault(layer, {}).update(by_field)

    def table(
        self, layers: Sequence[tuple[str, ...]], formats: Sequence[WeightFormat], passes: float
    ) -> Sensitivities:
        """All of them; formats of groups that hold no linear cost nothing."""
        none = dict.fromkeys(formats, 0.0)
        by_layer: list[dict[str, ByFormat]] = [dict.fromkeys(groups, none) for groups in layers]
        head = none
        for unit, losses in self.formats.items():
            if unit.layer is None:
                head = losses
            else:
                by_layer[unit.layer][unit.group] = losses
        thresholds = [self.thresholds.get(layer, {}) for layer in range(len(layers))]
        return Sensitivities(
            layers=tuple(by_layer),
            head=head,
            thresholds=tuple(_finite(losses) for losses in thresholds),
            sizes=tuple(self.sizes.get(layer, {}) for layer in range(len(layers)))
            if self.sizes
            else (),
            passes=passes,
        )


def _sweep(
    network: Network,
    loss: DivergenceLoss,
    units: Sequence[_Unit],
    draws: int,
    seed: int,
) -> tuple[list[_Unit], list[Calls]]:
    """What the last of some units saw in each state, as many of them as memory holds."""
    watched, states = list(units), []
    capture = LinearCapture(network, [path for unit in units for path in unit.paths])
    generator, held = torch.Generator().manual_seed(seed), dict.fromkeys(units, 0)
    try:
        judged = loss.judged(network)
        for passes in each(judged, "estimating sensitivities", loss.judges.states):
            for draw, direction in enumerate(_directions(passes, draws, generator)):
                capture.flow_back(direction, more=draw + 1 < draws)
            states.append(capture.take())
            for unit in watched:
                held[unit] += held_bytes(states[-1], unit.paths)
            while len(watched) > 1 and sum(held.values()) > MEMORY_BYTES:
                first = watched.pop(0)
                del held[first]
                capture.drop(first.paths)
                states = [_without(calls, first) for calls in states]
    finally:
        capture.close()
    return watched, states


def _without(calls: Calls, unit: _Unit) -> Calls:
    return {path: seen for path, seen in calls.items() if path not in unit.paths}


def _directions(
    passes: Sequence[JudgedLogits], draws: int, generator: torch.Generator
) -> Iterator[Tensor]:
    """Scalars whose gradients are random directions of a state's Fisher information."""
    logps = [judged.logits.log_softmax(dim=-1) for judged in passes]
    for _ in range(draws):
        total = torch.zeros((), device=logps[0].device)
        for logp, judged in zip(logps, passes, strict=True):
            drawn = torch.randint(0, 2, logp.shape, generator=generator, dtype=torch.int8)
            signs = drawn.to(logp.device) * 2 - 1
            along = (signs * (0.5 * logp.detach()).exp() * logp).sum(dim=-1)
            total = total + (along * judged.weights.sqrt().to(along)).sum()
        yield total


@torch.no_grad()
def _estimates(
    network: Network,
    unit: _Unit,
    states: Sequence[Calls],
    formats: Sequence[WeightFormat],
    rounded: Rounded,
) -> ByFormat:
    """The loss of each format in a unit; one linear at a time."""
    moved = {fmt: [Movement() for _ in states] for fmt in formats}
    # what is read from a file may be large: then one format's weights are in memory at a time
    together = [[fmt] for fmt in formats] if is_large(network) else [list(formats)]
    for path in unit.paths:
        linear = _exact(network.get_submodule(path))
        for some in together:
            modules = {fmt: rounded(path, linear, fmt) for fmt in some}
            for index, calls in enumerate(states):
                for call in calls[path]:
                    for fmt, error in _errors(linear, modules, call):
                        moved[fmt][index].add(call, error)
    return _finite({fmt: expected_loss(movements) for fmt, movements in moved.items()})


@torch.no_grad()
def _sizes(
    network: Network, seen: Container[str], states: Sequence[Calls], smaller: SmallerLayers
) -> dict[int, BySize]:
    """The loss of each size of the layers whose linears were watched; one size at a time."""
    found: dict[int, BySize] = {}
    layers = range(len(network.linear_groups().layers))
    wanted = [(i, f, n) for i in layers for f, counts in smaller.sizes.items() for n in counts]
    for layer, name, count in each(wanted, "pruning for sensitivities", len(wanted)):
        for path, linear in smaller.linears(layer, name, count).items():
            if path in seen:
                plain, blind = _exact(network.get_submodule(path)), _exact(linear)
                moved = [Movement() for _ in states]
                for movement, calls in zip(moved, states, strict=True):
                    for call in calls[path]:
                        for _, error in _errors(plain, {count: blind}, call):
                            movement.add(call, error)
                losses = found.setdefault(layer, {}).setdefault(name, {})
                losses |= _finite({count: expected_loss(moved)})
    return found


def _errors(
    linear: nn.Linear, modules: Mapping[KeyT, nn.Module], call: LinearCall
) -> Iterator[tuple[KeyT, Tensor]]:
    """Each module's error of a call's output; none where nothing that is judged depends on it."""
    if call.gradients:
        inputs = call.inputs.to(linear.weight.dtype)
        plain = linear(inputs)
        for fmt, module in modules.items():
            yield fmt, module(inputs) - plain


def _finite(losses: Mapping[KeyT, float]) -> dict[KeyT, float]:
    return {key: loss for key, loss in losses.items() if math.isfinite(loss)}


def _exact(module: nn.Module) -> nn.Linear:
    """A linear in float32: in half precision the rounding of its outputs would hide that of weights."""
    assert isinstance(module, nn.Linear)
    if module.weight.dtype == torch.float32:
        return module
    return copy.deepcopy(module).float()
