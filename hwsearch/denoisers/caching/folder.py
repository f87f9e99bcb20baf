"""The folder of what hwsearch can make again."""

from __future__ import annotations

import os
from pathlib import Path

#: The environment's variable for it.
CACHE_VARIABLE = "HWSEARCH_CACHE"


def cache_folder() -> Path:
    """Where hwsearch keeps what it can make again; `CACHE_VARIABLE` names another folder."""
    return Path(os.environ.get(CACHE_VARIABLE, Path.home() / ".cache" / "hwsearch"))
