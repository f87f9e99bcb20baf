"""Names of a package that are loaded when they are first used, so that importing it stays quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence


def lazy_names(package: str, homes: Mapping[str, Sequence[str]]) -> Callable[[str], object]:
    """A package's ``__getattr__``.

    Beside it the package imports the same names where types are checked, and lists them in ``__all__``.

    Args:
        package: its name.
        homes: public names by the module that defines them.

    >>> lazy_names("hwsearch", {"hwsearch.errors": ["InputError"]})("InputError").__name__
    'InputError'
    """
    home_of = {name: module for module, names in homes.items() for name in names}

    def load(name: str) -> object:
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home_of[name]), name)

    return load
