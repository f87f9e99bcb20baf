"""Small results of a model that stays in files, kept as JSON: found again without torch.

A result is known by all that it depends on, as those of `hwsearch.denoisers.caching.results` are; but the
model by its files' names, sizes and times, and the processor by what numpy finds in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from hwsearch.denoisers.caching.digest import code_digest, files_seen, text_digest
from hwsearch.denoisers.caching.folder import CACHED_TEXT, cache_folder, write_whole
from hwsearch.errors import InputError
from hwsearch.files import read_json

ResultT = TypeVar("ResultT")

#: The environment's variable by which torch takes less of the processor than there is.
CAPABILITY_VARIABLE = "ATEN_CPU_CAPABILITY"


def remembered_document(
    kind: str,
    model: Path,
    parts: Sequence[str],
    read: Callable[[Any], ResultT],
    make: Callable[[], dict[str, Any]],
) -> ResultT:
    """A result of a model, from disk where it was made before.

    Args:
        kind: what the result is, such as ``passes``; a folder.
        model: the model's folder or file.
        parts: all else that it depends on, as texts.
        read: makes it of plain data.
        make: computes it, as plain data.
    """
    key = text_digest(code_digest(), files_seen(model), _computed(), *parts)
    path = cache_folder() / kind / f"{key}.json"
    # a damaged file is made again
    with suppress(InputError, KeyError, TypeError, ValueError):
        return read(read_json(path, CACHED_TEXT))
    made = make()
    write_whole(path, json.dumps(made).encode())
    return read(made)


def _computed() -> str:
    """What computes: torch, and the processor's instructions."""
    found = np.show_config(mode="dicts") or {}
    limit = os.environ.get(CAPABILITY_VARIABLE, "")
    return json.dumps([version("torch"), found.get("SIMD Extensions"), limit])
