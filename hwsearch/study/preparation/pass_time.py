"""How long a full pass takes on this machine: layers that are timed, or products of their sizes."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from hwsearch.denoisers.accounting import group_matrices, pass_flops
from hwsearch.denoisers.described import DescribedModel

if TYPE_CHECKING:
    from hwsearch.denoisers.denoiser import Denoiser
    from hwsearch.denoisers.geometry import Geometry

#: Layers that are timed, sequences that go through them together, and how often.
LAYERS, BATCH, REPEATS = 2, 4, 3

#: The largest side of a product that stands for a layer's: larger ones are no faster, and take longer.
MOST_SIDE = 1024

#: How much longer a pass takes than its products alone, with all that lies between them: the ratio that
#: studies/startup/passes.py measures.
BESIDE_PRODUCTS = 1.4


def seconds_a_pass(model: Denoiser | DescribedModel, length: int) -> float:
    """Seconds of one full pass over one sequence, several together.

    Args:
        model: with weights its layers are timed, in torch; without them products of their sizes are, in
            numpy.
        length: positions of a sequence.
    """
    if isinstance(model, DescribedModel):
        return BESIDE_PRODUCTS * products_s(model.geometry, length)
    return layers_s(model, length)


def products_s(geometry: Geometry, length: int) -> float:
    """Seconds that numpy takes for the products of one full pass over one sequence.

    Args:
        geometry: sizes of the model.
        length: positions of a sequence.
    """
    shapes = [
        (min(out, MOST_SIDE), min(into, MOST_SIDE))
        for group in group_matrices(geometry).values()
        for out, into in group
    ]
    rows = min(BATCH * length, MOST_SIDE)
    pairs = [
        (np.ones((rows, into), np.float32), np.ones((into, out), np.float32))
        for out, into in shapes
    ]
    seconds = _timed(lambda: [left @ right for left, right in pairs])
    flops = sum(2 * rows * out * into for out, into in shapes)
    return seconds / flops * pass_flops(geometry, length, length, length).total


def layers_s(denoiser: Denoiser, length: int) -> float:
    """Seconds that torch takes for one full pass over one sequence, told from a few layers.

    Args:
        denoiser: the model.
        length: positions of a sequence.
    """
    import torch

    from hwsearch.denoisers.large.lockstep import run_through

    network, device = denoiser.network, denoiser.network.device
    tokens = torch.full((BATCH, length), denoiser.mask_token_id, device=device)

    def all_layers() -> None:
        if denoiser.is_cached:
            run_through(denoiser.transformer.refreshing(tokens))
        else:
            network(tokens)

    def some() -> None:
        running = denoiser.transformer.refreshing(tokens)
        for _ in range(1 + LAYERS):  # the first stop is before the first layer
            next(running)
        running.close()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with torch.inference_mode():
        if not denoiser.is_cached or denoiser.num_layers <= 2 * LAYERS:
            return _timed(all_layers) / BATCH
        return _timed(some) / BATCH * denoiser.num_layers / LAYERS


def _timed(run: Callable[[], object]) -> float:
    run()
    found = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        found.append(time.perf_counter() - began)
    return median(found)
