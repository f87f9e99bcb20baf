"""Sizes that a forecast asks of a model, with weights or without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hwsearch.denoisers.accounting import group_matrices, parameters
from hwsearch.denoisers.described import DescribedModel

if TYPE_CHECKING:
    from hwsearch.denoisers.denoiser import Denoiser


@dataclass(frozen=True)
class ModelSizes:
    """Sizes of a model.

    Attributes:
        layers: for each layer the (out, in) of the linears of each group.
        weight_bytes: bytes of all weights in memory.
        linear_bytes: bytes of those that a plan may round.
        stays_stored: whether the weights stay in their files.
    """

    layers: Sequence[Mapping[str, Sequence[tuple[int, int]]]]
    weight_bytes: int
    linear_bytes: int
    stays_stored: bool

    @classmethod
    def of(cls, model: Denoiser | DescribedModel) -> ModelSizes:
        """The sizes of a model."""
        return _described(model) if isinstance(model, DescribedModel) else _loaded(model)


def _described(model: DescribedModel) -> ModelSizes:
    sizes, groups = model.geometry, group_matrices(model.geometry)
    layer = sum(out * into for group in groups.values() for out, into in group)
    linears = sizes.num_layers * layer + sizes.vocab_size * sizes.hidden_size
    return ModelSizes(
        layers=[groups] * sizes.num_layers,
        weight_bytes=model.itemsize * parameters(sizes).total,
        linear_bytes=model.itemsize * linears,
        stays_stored=model.stays_stored,
    )


def _loaded(model: Denoiser) -> ModelSizes:
    from hwsearch.denoisers.large.lockstep import is_large
    from hwsearch.denoisers.network import linear_sizes

    network = model.network
    paths = network.linear_groups().paths()
    linears = sum(network.get_parameter(f"{path}.weight").numel() for path in paths)
    return ModelSizes(
        layers=linear_sizes(network).layers,
        weight_bytes=sum(weight.numel() * weight.element_size() for weight in network.parameters()),
        linear_bytes=linears * next(network.parameters()).element_size(),
        stays_stored=is_large(network),
    )
