"""A study as one page: what was asked, what was found, and where every figure comes from."""

from __future__ import annotations

import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hwsearch.errors import InputError
from hwsearch.files import refuse_existing
from hwsearch.study import Study, load_study


@dataclass(frozen=True)
class Report:
    """What was written.

    Attributes:
        path: the page.
        size_bytes: of it.
        figures: names of its figures.
        missing: why sections have nothing to show, by their address.
        pictures: files of the figures, where they were asked for.
    """

    path: Path
    size_bytes: int
    figures: tuple[str, ...]
    missing: dict[str, str]
    pictures: tuple[Path, ...] = ()

    @property
    def address(self) -> str:
        """The page's address for a browser."""
        return self.path.resolve().as_uri()

    def document(self) -> dict[str, Any]:
        """The report as plain data."""
        return {
            "path": str(self.path),
            "address": self.address,
            "size_bytes": self.size_bytes,
            "figures": list(self.figures),
            "missing": self.missing,
            "pictures": [str(path) for path in self.pictures],
        }


def write_report(
    study: Study | str,
    out: Path | str,
    *,
    storage: str | None = None,
    trial: int | None = None,
    figures: Path | str | None = None,
    overwrite: bool = False,
) -> Report:
    """Write a study's report: one page that needs no other file and no network.

    All that it shows comes from the study's storage and the files that it names; no model is loaded. What a
    study does not hold is said in the page, with the command that would add it.

    Args:
        study: the study, its name, or the path of its SQLite file.
        out: the page.
        storage: Optuna storage of a name; None is ``studies/<name>.db``.
        trial: the trial that the page is about; None takes what was measured as the winner, or else the best.
        figures: a folder that gets every figure as PNG and SVG, too.
        overwrite: replace a page that is there.

    Raises:
        UnknownNameError: no such study or trial.
        StudyError: the storage cannot be used, or the study has no finished trial.
        InputError: `out` exists and `overwrite` is false, a file cannot be written, or a package is not
            installed.
    """
    from hwsearch.report.study.drawing import write_pictures
    from hwsearch.report.study.facts import Facts
    from hwsearch.report.study.page import html, sections_of

    out = Path(out)
    refuse_existing(out, overwrite)
    found = load_study(study, storage) if isinstance(study, str) else study
    facts = Facts(found, _argument(study, storage), trial)
    _ = facts.chosen  # a study without any is told before anything is drawn
    sections = sections_of(facts)
    _write_whole(out, html(facts, sections))
    drawn = [figure for section in sections for figure in section.figures]
    pictures: list[Path] = []
    if figures is not None:
        folder = Path(figures)
        _make_folder(folder)
        for figure in drawn:
            pictures += write_pictures(figure, folder)
    return Report(
        out,
        out.stat().st_size,
        tuple(figure.name for figure in drawn),
        {section.key: section.missing for section in sections if section.missing},
        tuple(pictures),
    )


def _argument(study: Study | str, storage: str | None) -> str:
    """How a command line names the study."""
    name = study if isinstance(study, str) else study.name
    return shlex.quote(name) + (f" --storage {shlex.quote(storage)}" if storage else "")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write figures into {folder}: {error.strerror}") from error


def _write_whole(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise InputError(f"cannot write {path}: {error.strerror}") from error
