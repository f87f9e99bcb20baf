"""Which weights, heads and channels go: importance from calibration, sinks weighed down or up."""

from hwsearch.compression.pruning.answers import own_calibration
from hwsearch.compression.pruning.calibration import (
    Activations,
    WeightCalibration,
    noisy_passes,
    text_passes,
)
from hwsearch.compression.pruning.layer import blind_linears, prune_layer
from hwsearch.compression.pruning.masks import lowest_share, n_of_m, zeroed_share
from hwsearch.compression.pruning.sparsegpt import sparsegpt

__all__ = [
    "Activations",
    "WeightCalibration",
    "blind_linears",
    "lowest_share",
    "n_of_m",
    "noisy_passes",
    "own_calibration",
    "prune_layer",
    "sparsegpt",
    "text_passes",
    "zeroed_share",
]
