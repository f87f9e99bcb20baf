"""Keep the weights of a large model as they are stored, and compute in another type."""

from __future__ import annotations

import os

import torch
from torch import nn

from hwsearch.denoisers.accounting import parameters
from hwsearch.denoisers.geometry import Geometry
from hwsearch.denoisers.transformer import Transformer
from hwsearch.errors import InputError
from hwsearch.formats.linears.stored_linear import StoredEmbedding, StoredLinear

#: Share of the memory that may be held which copies of all weights may take: a search holds them once
#: more in each format.
COPIES_SHARE = 0.3

#: Copies of so many layers are needed at the same time, whatever stays on disk.
LEAST_LAYERS = 2


def default_memory() -> int:
    """Bytes that may be held where nobody says: half of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def keeps_stored(geometry: Geometry, dtype: torch.dtype, memory: int | None) -> bool:
    """Whether copies of all weights in a type would take too much of the memory.

    Args:
        geometry: sizes of the model.
        dtype: what it computes in.
        memory: bytes that may be held; None is `default_memory`.

    Raises:
        InputError: not even one layer at a time fits; the message names what would do.
    """
    most, count = default_memory() if memory is None else memory, parameters(geometry)
    layer = dtype.itemsize * (count.attention + count.mlp)
    least = LEAST_LAYERS * layer + (256 << 20)
    if most < least:
        raise InputError(
            f"memory must be at least {least / 2**30:.2f} GiB for layers of this model; "
            f"got {most / 2**30:.2f} GiB: give more by --memory, or take a smaller model"
        )
    return dtype.itemsize * count.total > COPIES_SHARE * most


def as_stored(network: Transformer, dtype: torch.dtype) -> Transformer:
    """The network, computing in `dtype` with weights as they are; changed in place.

    Norms and biases are copied, since they are small.
    """
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Linear):
                setattr(parent, name, StoredLinear.of(child))
            elif isinstance(child, nn.Embedding):
                setattr(parent, name, StoredEmbedding(child, dtype))
    for module in network.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.dim() == 1:
                setattr(module, name, nn.Parameter(parameter.to(dtype), requires_grad=False))
    return network
