"""Programs that run a plan without a bundle: what ``hwsearch export --to`` writes for them.

Loads nothing heavy, so that the command line can name them in its help.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from hwsearch.compression.compressed import CompressedDenoiser


class Writer(Protocol):
    """Writes a compressed model for another program."""

    def __call__(
        self, compressed: CompressedDenoiser, out: Path, *, overwrite: bool = False
    ) -> Path:
        """What was written: a folder, or the file in it that counts."""


@dataclass(frozen=True)
class OtherProgram:
    """Who runs what is written.

    Attributes:
        runs: what runs it, by its own name.
        write: writes it.
        leaves_out: what becomes of a plan's decoding and thresholds there.
    """

    runs: str
    write: Writer
    leaves_out: str


def _gguf(compressed: CompressedDenoiser, out: Path, *, overwrite: bool = False) -> Path:
    from hwsearch.bundle.gguf import export_gguf

    return export_gguf(compressed, out, overwrite=overwrite)


def _compressed_tensors(
    compressed: CompressedDenoiser, out: Path, *, overwrite: bool = False
) -> Path:
    from hwsearch.bundle.compressed_tensors import export_compressed_tensors

    return export_compressed_tensors(compressed, out, overwrite=overwrite)


#: By what ``hwsearch export --to`` calls it.
OTHER_PROGRAMS: Final[dict[str, OtherProgram]] = {
    "gguf": OtherProgram(
        "llama.cpp",
        _gguf,
        "llama.cpp runs every pass whole, and decodes as its own options say",
    ),
    "compressed-tensors": OtherProgram(
        "vLLM and transformers",
        _compressed_tensors,
        "vLLM and transformers keep to their own",
    ),
}
