"""A bundle that is being written: beside its place, out of sight, and gone on with where it was cut off."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

from hwsearch.bundle.rounded import RoundedProducts
from hwsearch.bundle.weights import Graph, WeightGroup
from hwsearch.compression.compressed import CompressedDenoiser
from hwsearch.decoding.kept import KeptShares
from hwsearch.denoisers.caching.digest import code_digest
from hwsearch.errors import InputError
from hwsearch.files import FileKind, read_text
from hwsearch.runtime.bundle import WEIGHTS_FILE

#: Bytes of graphs, tokenizer and references beside the weights, at most.
_REST = 64 << 20

#: What is noted of an export that is not finished.
_OWN_FILE = FileKind("note of an export", 64 << 20, fix="remove it")

_KEY, _JOURNAL, _BUNDLE, _REPLACED = "key.json", "journal.jsonl", "bundle", "replaced"


class PartialBundle:
    """The folder ``.NAME.partial`` beside a bundle's place. A context manager.

    What an earlier run left there of the same export is kept; of another one it is removed. A run that ends
    by an error of the user's leaves nothing.

    Args:
        out: the bundle's place.
        key: what it is an export of; see `key_of`.
    """

    def __init__(self, out: Path, key: str) -> None:
        self._out = out
        self._folder = out.parent / f".{out.name}.partial"
        self._key = key

    def __enter__(self) -> Self:
        known, replaced = self._folder / _KEY, self._folder / _REPLACED
        if replaced.exists() and not self._out.exists():
            replaced.rename(self._out)  # killed between the two moves
        if not (known.is_file() and read_text(known, _OWN_FILE) == self._key):
            shutil.rmtree(self._folder, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        for left in self.folder.iterdir():
            if (
                left.name != WEIGHTS_FILE
            ):  # all else is written anew, and a bundle lists all that is there
                left.unlink()
        known.write_text(self._key, encoding="utf-8")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        interrupted = kind is not None and not issubclass(kind, Exception)
        if not interrupted:
            shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def folder(self) -> Path:
        """Where the bundle's files are written."""
        return self._folder / _BUNDLE

    @property
    def journal(self) -> Path:
        """Where whole arrays are noted."""
        return self._folder / _JOURNAL

    def check_room(self, graphs: Iterable[Graph]) -> None:
        """Raise `InputError` unless the disk has room for the weights of all graphs."""
        groups: set[WeightGroup] = set()
        for graph in graphs:
            groups |= {weight.group for weight in graph.weights.values()}
        total = sum(spec.nbytes for group in groups for spec in group.specs.values())
        there = sum(path.stat().st_size for path in self.folder.iterdir())
        _check_disk(self._out, total, there)

    def move(self) -> None:
        """Put the finished folder in its place; one that is there goes aside first, and back on failure."""
        replaced = self._folder / _REPLACED
        try:
            if self._out.exists():
                self._out.rename(replaced)
            self.folder.rename(self._out)
        except BaseException:  # a signal, too
            if replaced.exists() and not self._out.exists():
                replaced.rename(self._out)
            raise


def check_room_for(out: Path, size_bytes: int) -> None:
    """Raise `InputError` unless the disk has room for a bundle, before any work is done for it.

    Args:
        out: the bundle's place. One that was begun there has its room already.
        size_bytes: of its weights.
    """
    if not (out.parent / f".{out.name}.partial").exists():
        _check_disk(out, size_bytes, 0)


def _check_disk(out: Path, size_bytes: int, there: int) -> None:
    folder = next(parent for parent in out.absolute().parents if parent.exists())
    needed, free = size_bytes + _REST - there, shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{out}: the bundle takes {size_bytes / 1e9:.2f} GB, and the disk has {free / 1e9:.2f} "
            f"GB left; make room for {max(0, needed - free) / 1e9:.2f} GB more, or choose another disk"
        )


def key_of(compressed: CompressedDenoiser, kept: KeptShares, weights: str, runtime: str) -> str:
    """What an export is of, by weights, plan, decoding and code; not what is asked when it is written.

    Args:
        compressed: the denoiser, its plan applied.
        kept: what its layers keep.
        weights: digest of the float weights.
        runtime: name of the provider that graphs are written for.
    """
    return json.dumps(
        {
            "weights": weights,
            "rounded": RoundedProducts.of(compressed.network).origins,
            "runtime": runtime,
            "plan": compressed.plan.model_dump(mode="json"),
            "decoding": compressed.decoding.model_dump(mode="json"),
            "kept": [*kept.shares, str(kept.policy), kept.signal.value],
            "code": code_digest(),
        }
    )
