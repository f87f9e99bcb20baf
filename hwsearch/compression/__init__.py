"""Plan + denoiser → compressed denoiser: formats simulated in torch as onnxruntime computes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.lazy import lazy_names

if TYPE_CHECKING:
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

__getattr__ = lazy_names(
    __name__,
    {
        "hwsearch.compression.bank": ["WeightBank", "check_fits", "compress", "linear_formats"],
        "hwsearch.compression.compressed": ["CompressedDenoiser"],
        "hwsearch.compression.pruning": [
            "WeightCalibration",
            "noisy_passes",
            "own_calibration",
            "text_passes",
        ],
        "hwsearch.compression.workbench": ["Workbench", "foreseeing"],
        "hwsearch.formats.catalog": ["simulate"],
        "hwsearch.formats.linears.simulated_linear": ["SimulatedLinear"],
    },
)
