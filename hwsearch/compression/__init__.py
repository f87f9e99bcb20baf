"""Plan + denoiser → compressed denoiser: formats simulated in torch as onnxruntime computes them."""

from hwsearch.compression.bank import WeightBank, check_fits, compress, linear_formats
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.compression.formats import SimulatedLinear, simulate

__all__ = [
    "CompressedDenoiser",
    "SimulatedLinear",
    "WeightBank",
    "check_fits",
    "compress",
    "linear_formats",
    "simulate",
]
