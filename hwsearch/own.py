"""Objects of a user's own code, by ``package.module:name``."""

from __future__ import annotations

import pkgutil
import re
import sys
from pathlib import Path
from typing import Any

from hwsearch.errors import InputError

_PLACE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def is_own(name: str) -> bool:
    """Whether a name is one of a user's own object.

    >>> is_own("package.module:make"), is_own("gsm-mini"), is_own("C:\\\\models\\\\llada")
    (True, False, False)
    """
    return _PLACE.fullmatch(name) is not None


def own_object(name: str) -> Any:
    """The object; modules of the working directory are found, as by ``python -m``.

    Raises:
        InputError: there is no such module, or nothing of that name in it, or importing it fails.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return pkgutil.resolve_name(name)
    except Exception as error:  # a user's module raises what it likes
        raise InputError(f"cannot import {name}: {type(error).__name__}: {error}") from error
