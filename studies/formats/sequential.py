"""Rounding layer by layer: linears see what the rounded layers before them make of the text.

hwsearch's own calibrated rounding shows every linear what the uncompressed model's see, so that a
search can put formats together freely. other_tools.py asks what that costs.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hwsearch.compression import WeightCalibration
from hwsearch.compression.rounding.choice import round_group
from hwsearch.compression.rounding.effort import MOST_ROWS
from hwsearch.compression.rounding.linear_inputs import (
    InputWatch,
    LinearInputs,
    calibration_samples,
    states_after,
)
from hwsearch.compression.swap import swapped
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.network import Network
from hwsearch.denoisers.transformer import Layer, Transformer
from hwsearch.formats.integer_format import IntegerFormat
from hwsearch.formats.linears.simulated_linear import calibrated

#: What is added to a Hessian's diagonal, as a share of it.
DAMPING = 0.01


@torch.inference_mode()
def rounded_in_order(
    denoiser: Denoiser, calibration: WeightCalibration, form: IntegerFormat, corrected: bool
) -> Network:
    """The network, its layers rounded from the first to the last.

    Args:
        denoiser: the model.
        calibration: what its linears see.
        form: the format of all linears but the head.
        corrected: whether weights are first moved so that products with what a linear sees now come
            nearest to the uncompressed model's by least squares, as in GPTAQ. Else they stay.
    """
    samples = calibration_samples(calibration.batches, MOST_ROWS)
    network = denoiser.network
    assert isinstance(network, Transformer), "its layers are known"
    exact = now = [network.model.embed_tokens(tokens) for tokens in samples]
    modules: dict[str, nn.Module] = {}
    layers = zip(network.model.layers, network.linear_groups().layers, strict=True)
    for index, (layer, groups) in enumerate(layers):
        assert isinstance(layer, Layer)
        with InputWatch(layer) as before:
            exact = states_after(layer, exact, network)
        with InputWatch(layer) as watch:
            after = states_after(layer, now, network)
        for group, paths in groups.items():
            seen = watch.seen(group, after)
            linears = {path: network.get_submodule(path) for path in paths}
            weights = {path: linear.weight.detach() for path, linear in linears.items()}
            if corrected:
                moved = correction(before.seen(group, exact), seen)
                weights = {path: weight @ moved for path, weight in weights.items()}
            for path, found in round_group(weights, form, seen):
                modules[path] = calibrated(linears[path], form, found)
        rounded = swapped(network, modules).model.layers[index]
        now = states_after(rounded, now, network)
    return swapped(network, modules)


@torch.inference_mode()
def correction(exact: LinearInputs, seen: LinearInputs) -> Tensor:
    """``A [in, in]`` for which ``W A x'`` is nearest to ``W x``, x' being seen in place of x."""
    size = exact.inputs[0].shape[-1]
    cross, own = torch.zeros(2, size, size, dtype=torch.float64)
    for x, y, counts in zip(exact.inputs, seen.inputs, seen.weights, strict=True):
        rows = (y * counts[..., None]).flatten(0, 1).T
        cross += (rows @ (x - y).flatten(0, 1)).double()
        own += (rows @ y.flatten(0, 1)).double()
    own.diagonal().mul_(1 + DAMPING)
    own.diagonal().clamp_(min=1e-12)
    change = torch.linalg.solve(own, cross).T
    return (torch.eye(size, dtype=torch.float64) + change).float()
