"""Whether a model is so large that its weights stay in their files, told from sizes; no torch."""

from __future__ import annotations

import os

from hwsearch.denoisers.accounting import parameters
from hwsearch.denoisers.geometry import Geometry
from hwsearch.errors import InputError

#: Share of the memory that may be held which copies of all weights may take: a search holds them once
#: more in each format.
COPIES_SHARE = 0.3

#: Copies of so many layers are needed at the same time, whatever stays on disk.
LEAST_LAYERS = 2


def default_memory() -> int:
    """Bytes that may be held where nobody says: half of the machine's memory."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def keeps_stored(geometry: Geometry, itemsize: int, memory: int | None) -> bool:
    """Whether copies of all weights in a type would take too much of the memory.

    Args:
        geometry: sizes of the model.
        itemsize: bytes of a number of the type that it computes in.
        memory: bytes that may be held; None is `default_memory`.

    Raises:
        InputError: not even one layer at a time fits; the message names what would do.
    """
    most, count = default_memory() if memory is None else memory, parameters(geometry)
    layer = itemsize * (count.attention + count.mlp)
    least = LEAST_LAYERS * layer + (256 << 20)
    if most < least:
        raise InputError(
            f"memory must be at least {least / 2**30:.2f} GiB for layers of this model; "
            f"got {most / 2**30:.2f} GiB: give more by --memory, or take a smaller model"
        )
    return itemsize * count.total > COPIES_SHARE * most
