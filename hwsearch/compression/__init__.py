"""Plan + denoiser → compressed denoiser: formats simulated in torch as onnxruntime computes them."""

from hwsearch.compression.bank import WeightBank, check_fits, compress, linear_formats
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.compression.pruning import (
    WeightCalibration,
    noisy_passes,
    own_calibration,
    text_passes,
)
from hwsearch.compression.workbench import Workbench, foreseeing
from hwsearch.formats.catalog import simulate
from hwsearch.formats.linears.simulated_linear import SimulatedLinear

__all__ = [
    "CompressedDenoiser",
    "SimulatedLinear",
    "WeightBank",
    "WeightCalibration",
    "Workbench",
    "check_fits",
    "compress",
    "foreseeing",
    "linear_formats",
    "noisy_passes",
    "own_calibration",
    "simulate",
    "text_passes",
]
