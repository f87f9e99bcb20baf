"""Keep the weights of a large model as they are stored, and compute in another type."""

from __future__ import annotations

import torch
from torch import nn

from hwsearch.denoisers.transformer import Transformer
from hwsearch.formats.linears.stored_linear import StoredEmbedding, StoredLinear


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
