"""Weights rounded by calibration, on disk: made once for each linear and format, and mapped after that."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hwsearch.compression.code_store import codes_file, mapped_codes
from hwsearch.denoisers.caching.folder import CACHED_FILE
from hwsearch.files import whole_folder
from hwsearch.files.arrays import map_npy
from hwsearch.formats.catalog import format_of
from hwsearch.formats.integer_format import RoundedWeight
from hwsearch.plan import WeightFormat

_SCALE = "scale.npy"


class RoundedStore:
    """A folder of rounded weights, one folder for each linear and format.

    Args:
        folder: of one model and one calibration.
        origin: digest of the calibration.
    """

    def __init__(self, folder: Path, origin: str) -> None:
        self.folder, self.origin = folder, origin

    def find(self, path: str, weight: Tensor, fmt: WeightFormat) -> RoundedWeight | None:
        """A linear's weight, mapped from its files; None where there is none."""
        folder, (outputs, inputs) = self._place(path, fmt), weight.shape
        if not folder.is_dir():
            return None
        codes = mapped_codes(folder, format_of(fmt), inputs, outputs)
        scale = None
        if (folder / _SCALE).exists():
            scale = torch.from_numpy(np.array(map_npy(folder / _SCALE, CACHED_FILE))).to(
                weight.device
            )
        return RoundedWeight(codes, scale, self.origin)

    def keep(self, path: str, rounded: RoundedWeight, fmt: WeightFormat) -> None:
        """Write a weight, whole or not at all; a disk that is full keeps none."""
        with suppress(OSError), whole_folder(self._place(path, fmt), "keep") as fresh:
            for name, array in rounded.codes.items():
                np.save(codes_file(fresh, name), array)
            if rounded.scale is not None:
                np.save(fresh / _SCALE, rounded.scale.cpu().numpy())

    def _place(self, path: str, fmt: WeightFormat) -> Path:
        return self.folder / f"{path}.{fmt.value}"
