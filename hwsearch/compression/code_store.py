"""Codes of a large model's linears, on disk: made once for each format, and mapped wherever they are used."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np
from torch import Tensor, nn

from hwsearch.denoisers.caching.digest import weights_digest
from hwsearch.denoisers.caching.folder import CACHE_VARIABLE, CACHED_FILE, cache_folder
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.errors import InputError
from hwsearch.files import whole_folder
from hwsearch.files.arrays import map_npy
from hwsearch.formats.catalog import format_of
from hwsearch.formats.linears.stored_linear import CodedLinear, outputs_at_once
from hwsearch.formats.weight_format import Format
from hwsearch.plan import WeightFormat
from hwsearch.progress import each

if TYPE_CHECKING:
    from hwsearch.formats.weight_format import Codes

#: Raised when a format's codes come to mean something else.
SCHEME = 2


class CodeStore:
    """A folder of codes, one folder for each linear and format.

    Args:
        folder: of one model's codes.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def of(cls, denoiser: Denoiser) -> Self:
        """That of a model, known by the digest of its weights."""
        digest = weights_digest(denoiser.network)
        return cls(cache_folder() / f"codes-{SCHEME}" / digest)

    def linear(self, path: str, linear: nn.Linear, fmt: WeightFormat) -> CodedLinear:
        """A linear in a format.

        Args:
            path: of the linear in the model.
            linear: with its float weights.
            fmt: the format.

        Raises:
            InputError: the disk has too little room.
        """
        form, (outputs, inputs) = format_of(fmt), linear.weight.shape
        folder = self.folder / f"{path}.{fmt.value}"
        if not folder.is_dir():
            self._make(folder, linear.weight, form)
        codes = mapped_codes(folder, form, inputs, outputs)
        bias = None if linear.bias is None else linear.bias.detach()
        return CodedLinear(codes, bias, form, inputs, outputs)

    def _make(self, folder: Path, weight: Tensor, form: Format) -> None:
        """Encode a matrix, some outputs at a time; whole or not at all."""
        outputs, inputs = weight.shape
        specs = form.specs(inputs, outputs)
        self.folder.mkdir(parents=True, exist_ok=True)
        needed = sum(spec.nbytes for spec in specs.values())
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise InputError(
                f"{self.folder}: codes take {needed / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} GB "
                f"left; make room, or set {CACHE_VARIABLE} to a folder on another disk"
            )
        with whole_folder(folder, "keep") as fresh:
            arrays = {
                name: np.lib.format.open_memmap(
                    codes_file(fresh, name), "w+", spec.dtype, spec.shape
                )
                for name, spec in specs.items()
            }
            pieces = outputs_at_once(outputs, inputs)
            for start, stop in each(pieces, "quantising", outputs, _rows):
                exact = weight[start:stop].detach().float().cpu().numpy()
                for name, piece in form.encode(exact.T).items():
                    arrays[name][specs[name].outputs(start, stop)] = piece
            del arrays


def codes_file(folder: Path, name: str) -> Path:
    """Where a folder has one of the arrays of `Format.specs`."""
    return folder / f"codes{name}.npy"


def mapped_codes(folder: Path, form: Format, inputs: int, outputs: int) -> Codes:
    """A matrix's arrays, mapped from their files."""
    # numpy's files do not know 8-bit floats by name
    return {
        name: map_npy(codes_file(folder, name), CACHED_FILE).view(spec.dtype)
        for name, spec in form.specs(inputs, outputs).items()
    }


def _rows(piece: tuple[int, int]) -> int:
    return piece[1] - piece[0]
