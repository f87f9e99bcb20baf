"""Replace modules in a network without touching the network."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def swapped(module: ModuleT, replacements: Mapping[str, nn.Module]) -> ModuleT:
    """A network that has other modules at some paths, and shares all the rest with `module`.

    Only the modules on the way to a replacement are copied, and those shallowly: no weight is.

    Args:
        module: the network; left as it is.
        replacements: new modules by dotted path, such as ``model.layers.0.mlp.up_proj``.
    """
    if not replacements:
        return module
    inner: dict[str, dict[str, nn.Module]] = {}
    children: dict[str, nn.Module | None] = dict(module._modules)
    for path, new in replacements.items():
        child, _, rest = path.partition(".")
        if rest:
            inner.setdefault(child, {})[rest] = new
        else:
            children[child] = new
    for child, below in inner.items():
        children[child] = swapped(module.get_submodule(child), below)
    clone = copy.copy(module)
    clone._modules = children
    return clone
