"""Copies of the scripts: for a folder that runs bundles, and for a kit."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Final

from hwsearch.files import whole_folder

_HERE: Final = Path(__file__).parent

#: What both need.
_SHARED: Final = (
    "package.json",
    "errors.mjs",
    "command.mjs",
    "files.mjs",
    "ort.mjs",
    "clock.mjs",
    "serve.mjs",
)

#: What runs bundles, by what it is called there.
_RUNNER: Final = {
    name: name
    for name in (
        *_SHARED,
        *("bundle.mjs", "backend.mjs", "text.mjs", "engine.mjs", "generate.mjs", "bench.mjs"),
        "decoding",
        "index.html",
    )
}

#: How every page begins: its looks, and where a browser finds the packages. An import map cannot be a file
#: of its own.
_HEAD: Final = "head.html"

#: What times a kit. Its page is the first that a browser is given.
_KIT: Final = {name: name for name in (*_SHARED, "measure.mjs", "kit")} | {"kit.html": "index.html"}


def write_runner(folder: Path, *, overwrite: bool = False) -> Path:
    """Write a folder that runs bundles in Node and in a browser: complete, or not at all.

    Args:
        folder: to be made.
        overwrite: replace one that is there.

    Raises:
        InputError: the folder exists and `overwrite` is false.
    """
    with whole_folder(folder, "replace" if overwrite else "refuse") as fresh:
        _copy(_RUNNER, fresh)
    return folder


def write_kit_scripts(folder: Path) -> None:
    """Write what times a kit's graphs into its folder, which is there."""
    _copy(_KIT, folder)


def _copy(names: dict[str, str], folder: Path) -> None:
    for name, called in names.items():
        source = _HERE / name
        if source.is_dir():
            shutil.copytree(source, folder / called)
        elif source.suffix == ".html":
            head, page = ((_HERE / part).read_text(encoding="utf-8") for part in (_HEAD, name))
            (folder / called).write_text(head + page, encoding="utf-8")
        else:
            shutil.copyfile(source, folder / called)
