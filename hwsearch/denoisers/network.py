"""What compression and scoring need of a network: logits, and which linears belong to which layer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from hwsearch.errors import InputError
from hwsearch.forecast.fitting import JudgedForecast
from hwsearch.plan import LINEAR_GROUPS, SHORT_FORMS, groups_of

#: What a network may call the groups of a layer: by what plans have a format for, or by a short form
#: where it does not tell the two apart.
GROUPS = (*SHORT_FORMS, *LINEAR_GROUPS)


@dataclass(frozen=True)
class LinearGroups:
    """Paths of a network's linears, by what a plan calls them.

    Attributes:
        layers: for each layer its paths by some of `GROUPS`; a group may be empty. Linears of a group
            that is named by a short form, such as ``mlp``, have one format together, so they take plans
            that say the same of both it stands for.
        head: path of the output head; None where it is no linear or shall stay as it is.
    """

    layers: tuple[Mapping[str, tuple[str, ...]], ...]
    head: str | None

    def joined(self, groups: Sequence[str]) -> tuple[Mapping[str, tuple[str, ...]], ...]:
        """For each layer the paths of other groups, each made of whole groups of these.

        Args:
            groups: short forms and others of `GROUPS`, which together hold all that are named here.

        Raises:
            InputError: the network names as one what `groups` tell apart.
        """
        whole = {group: set(groups_of(group)) for group in groups}
        found = []
        for layer in self.layers:
            paths: dict[str, tuple[str, ...]] = dict.fromkeys(groups, ())
            for named, own in layer.items():
                place = [group for group in groups if whole[group].issuperset(groups_of(named))]
                if place:
                    paths[place[0]] += tuple(own)
                elif own:
                    raise InputError(
                        f"the network names {named} as one group of linears, so "
                        f"{' and '.join(groups_of(named))} cannot have formats apart"
                    )
            found.append(paths)
        return tuple(found)

    def paths(self) -> list[str]:
        """Every path."""
        inner = [path for layer in self.layers for group in layer.values() for path in group]
        return inner if self.head is None else [*inner, self.head]


class Network(nn.Module):
    """A module that maps tokens ``[batch, length]`` to logits ``[batch, length, vocab]``.

    Attributes:
        forecast: what its passes are foreseen by, where that was fitted.
    """

    forecast: JudgedForecast | None = None

    def foreseeing(self, forecast: JudgedForecast) -> Self:
        """The same network with a forecast; all its weights are shared."""
        other = copy.copy(self)
        other.forecast = forecast
        return other

    def linear_groups(self) -> LinearGroups:
        """The linears whose format a plan may choose, by layer."""
        raise NotImplementedError

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def attention_mass(self, tokens: Tensor) -> Sequence[Tensor] | None:
        """For each layer the attention mass that each position receives, ``[batch, length]``.

        That is the probability summed over heads and queries. None where the network cannot tell.
        """
        return None


@dataclass(frozen=True)
class LinearSizes:
    """Sizes of a network's named linears, and of all the rest.

    Attributes:
        layers: for each layer the (out, in) of each linear, by group.
        head: (out, in) of the output head; None where it is not named.
        others: parameters and buffers that no plan changes: embeddings, norms, biases, unnamed linears.
        tied_head: whether the head's weight is one of those, such as the embedding.
    """

    layers: tuple[Mapping[str, tuple[tuple[int, int], ...]], ...]
    head: tuple[int, int] | None
    others: int
    tied_head: bool = False


def linear_sizes(network: Network) -> LinearSizes:
    """Sizes of a network's linears as it names them."""
    groups = network.linear_groups()
    matrices = {path: _matrix(network.get_submodule(path)) for path in groups.paths()}
    products = {f"{path}.weight" for path in matrices}
    # a weight of two names is told once under each: a tied head is an embedding too
    told = network.named_parameters(remove_duplicate=False)
    others = {id(weight): weight for name, weight in told if name not in products}
    head = None if groups.head is None else network.get_submodule(groups.head)
    return LinearSizes(
        layers=tuple(
            {group: tuple(matrices[path] for path in paths) for group, paths in layer.items()}
            for layer in groups.layers
        ),
        head=None if groups.head is None else matrices[groups.head],
        others=sum(tensor.numel() for tensor in (*others.values(), *network.buffers())),
        tied_head=head is not None and id(head.get_parameter("weight")) in others,
    )


def _matrix(linear: nn.Module) -> tuple[int, int]:
    rows, columns = linear.get_parameter("weight").shape
    return rows, columns


class OwnNetwork(Network):
    """Any torch module as a `Network`: full passes only, so no cache and no sink thresholds.

    Args:
        module: maps tokens ``[batch, length]`` to logits ``[batch, length, vocab]``; one that is
            told the noise level takes it from the share of masks in its tokens. Where it has a
            method ``attention_mass``, as `Network.attention_mass`, its sinks can be looked at.
        layers: for each layer the paths of its linears within `module`, by group.
        head: path of the output head within `module`, or None.

    Raises:
        InputError: a group is unknown, or a path is named twice or is no ``nn.Linear``.
    """

    def __init__(
        self,
        module: nn.Module,
        layers: Sequence[Mapping[str, Sequence[str]]],
        head: str | None = None,
    ) -> None:
        super().__init__()
        self.module = module
        self._groups = LinearGroups(
            tuple(
                {group: tuple(f"module.{path}" for path in paths) for group, paths in layer.items()}
                for layer in layers
            ),
            None if head is None else f"module.{head}",
        )
        _check(self, self._groups)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of a full pass."""
        logits: Tensor = self.module(tokens)
        return logits

    def linear_groups(self) -> LinearGroups:
        """The linears, by layer and group, as they were named."""
        return self._groups

    def attention_mass(self, tokens: Tensor) -> Sequence[Tensor] | None:
        """The module's own answer, one tensor ``[batch, length]`` a layer.

        Raises:
            InputError: the module answers another number of layers, other sizes, or masses that
                are negative or not finite.
        """
        tell = getattr(self.module, "attention_mass", None)
        if tell is None:
            return None
        masses: Sequence[Tensor] = tell(tokens)
        shapes = [tuple(mass.shape) for mass in masses]
        if shapes != [tuple(tokens.shape)] * len(self._groups.layers):
            raise InputError(
                f"attention_mass must answer {len(self._groups.layers)} tensors, one a layer, of "
                f"the tokens' shape {tuple(tokens.shape)}; got {shapes}"
            )
        for layer, mass in enumerate(masses):
            if not bool((torch.isfinite(mass) & (mass >= 0)).all()):
                raise InputError(
                    f"attention_mass must answer finite numbers from 0 up; those of layer {layer} "
                    f"go from {float(mass.min()):g} to {float(mass.max()):g}"
                )
        return masses


def _check(network: Network, groups: LinearGroups) -> None:
    for index, layer in enumerate(groups.layers):
        for group in layer:
            if group not in GROUPS:
                raise InputError(
                    f"layer {index}: a group is one of {', '.join(GROUPS)}; got {group!r}"
                )
    paths = groups.paths()
    modules = dict(network.named_modules())
    for path in paths:
        shown = path.removeprefix("module.")
        if not isinstance(modules.get(path), nn.Linear):
            found = type(modules[path]).__name__ if path in modules else "nothing"
            raise InputError(f"{shown}: a path must lead to an nn.Linear; there is {found}")
        if paths.count(path) > 1:
            raise InputError(f"{shown}: a linear belongs to one group; it is named twice")
