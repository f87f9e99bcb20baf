"""A compressed network with the weights that a GGUF file holds of it."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from hwsearch.bundle.gguf.types import block_values
from hwsearch.bundle.linears import codes_of, float_linear, formats_of, weight_of
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.compression.swap import swapped
from hwsearch.denoisers.network import Network
from hwsearch.formats.blocks import Blocks
from hwsearch.formats.catalog import format_of
from hwsearch.formats.linears.simulated_linear import Rounding, SimulatedLinear


def gguf_network(compressed: CompressedDenoiser, round_inputs: Rounding | None = None) -> Network:
    """The network of a plan as a GGUF file stores it.

    Blocks have scales of 16 bits there, and 32 where plans have floats: weights are within a two-thousandth
    of what the plan makes of them.

    Args:
        compressed: the model, its plan applied.
        round_inputs: what becomes of the inputs ``[..., in]`` of linears in blocks, which is up to who
            multiplies them; as the plan says by default.
    """
    replaced: dict[str, nn.Module] = {}
    for path, fmt in formats_of(compressed).items():
        if not isinstance(format_of(fmt), Blocks):
            continue
        inputs = weight_of(compressed, path).shape[1]
        values = [block_values(fmt, codes, inputs) for codes in codes_of(compressed, path, fmt)]
        weight = torch.from_numpy(np.concatenate(values))
        replaced[path] = SimulatedLinear(
            weight,
            float_linear(compressed, path).bias,
            round_inputs or format_of(fmt).round_inputs,
        )
    return swapped(compressed.network, replaced)
