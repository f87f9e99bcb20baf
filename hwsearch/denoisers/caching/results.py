"""What takes a model minutes to find out, kept on disk: the next search on the same model reads it.

A result is known by all that it depends on: weights and settings of the model, what was asked, the type and
the kind of device that computed, torch, and hwsearch's own code. So nothing is ever out of date; what was
made by an earlier version is not found, and goes when room is needed.

Files are read by torch's restricted unpickler, which makes objects of named classes alone and runs nothing.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch

from hwsearch.denoisers.caching.digest import (
    code_digest,
    settings_digest,
    text_digest,
    weights_digest,
)
from hwsearch.denoisers.caching.folder import CACHED_FILE, cache_folder
from hwsearch.denoisers.denoiser import Denoiser
from hwsearch.denoisers.transformer import Transformer
from hwsearch.files import check_plain
from hwsearch.files.folders import fresh_aside

ResultT = TypeVar("ResultT")

#: Bytes of results that are kept; those not used for longest go first.
MOST_BYTES = 4 << 30

#: How folders are called that results are written in.
_MAKING = ".making-"

#: What arrays are made of, beside the classes that a caller names.
_ARRAYS: tuple[Any, ...] = (
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in ("int8", "int32", "int64", "float32", "float64", "bool")},
    np.empty(0).__reduce__()[0],  # how numpy itself writes an array, and a number
    np.float64(0).__reduce__()[0],
)

_log = logging.getLogger(__name__)


def remembered(
    kind: str,
    denoiser: Denoiser,
    parts: Sequence[str],
    make: Callable[[], ResultT],
    classes: Sequence[type] = (),
) -> ResultT:
    """A result of a model, from disk where it was made before.

    A model of the user's own code is never remembered: nobody can tell whether that code is the same.

    Args:
        kind: what the result is, such as ``states``; a folder.
        denoiser: the model.
        parts: all else that it depends on, as texts.
        make: makes it.
        classes: what it consists of beside arrays, tensors and Python's own containers.
    """
    if not isinstance(denoiser.network, Transformer):
        return make()
    path = cache_folder() / "results" / kind / f"{_key(denoiser, parts)}.pt"
    found: ResultT | None = _read(path, classes, denoiser.network.device)
    if found is None:
        found = make()
        _write(path, found)
    return found


def _key(denoiser: Denoiser, parts: Sequence[str]) -> str:
    network = denoiser.network
    computed = (
        f"{denoiser.options.get('dtype')} {network.device.type}",
        f"{torch.__version__} {torch.backends.cpu.get_cpu_capability()}",
    )
    model = weights_digest(network), settings_digest(denoiser)
    return text_digest(code_digest(), *model, *computed, *parts)


def _read(path: Path, classes: Sequence[type], device: torch.device) -> Any:
    """A result; None where there is none, or none that can be read."""
    try:
        with torch.serialization.safe_globals([*_ARRAYS, *classes]):
            if not path.exists():
                return None
            check_plain(path, CACHED_FILE)
            found = torch.load(path, map_location=device, weights_only=True)
        os.utime(path)
    except Exception as error:  # whatever torch and zipfile make of a damaged file
        _log.debug("%s cannot be read and is made again: %s", path, error)
        return None
    return found


def _write(path: Path, result: object) -> None:
    """Keep a result, whole or not at all; a disk that is full, or may not be written, keeps none."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with fresh_aside(path.parent, _MAKING) as aside:
            torch.save(result, aside / "result")
            (aside / "result").replace(path)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError where a disk is full
        _log.debug("%s is not kept: %s", path, error)
    _make_room(path.parents[1])


def _make_room(folder: Path) -> None:
    """Forget what was not used for longest, until the rest is small enough."""
    known = []
    for path in folder.rglob("*.pt"):
        with suppress(OSError):  # another process may have forgotten it
            known.append((path.stat().st_mtime, path.stat().st_size, path))
    held = 0
    for _, size, path in sorted(known, reverse=True):
        held += size
        if held > MOST_BYTES:
            path.unlink(missing_ok=True)
