"""One HTML page about a model's sinks, its pictures inside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hwsearch.errors import InputError
from hwsearch.files import FileKind, read_bytes
from hwsearch.files.kinds import MIB
from hwsearch.report.sinks.measures import Finding, SinkMeasures

#: A picture that the page shows.
PICTURE = FileKind("picture", 64 * MIB)


def write_page(
    path: Path,
    models: Sequence[SinkMeasures],
    found: Sequence[Finding],
    pictures: Sequence[Path],
    words: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Write the page; it needs no other file. `words` are each model's, as `in_words` has them.

    Raises:
        InputError: jinja2 is not installed.
    """
    try:
        from jinja2 import Environment, PackageLoader, select_autoescape
    except ImportError as error:
        raise InputError('pages need jinja2: pip install "hwsearch[report]"') from error
    environment = Environment(
        loader=PackageLoader("hwsearch.report"),
        autoescape=select_autoescape(("html", "j2")),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("sinks.html.j2").render(
        models=models,
        findings=found,
        words=words,
        pictures=[_embedded(picture) for picture in pictures],
    )
    path.write_text(text, encoding="utf-8")


def _embedded(picture: Path) -> tuple[str, str]:
    """A picture's name and its content as a data address."""
    content = base64.b64encode(read_bytes(picture, PICTURE)).decode("ascii")
    return picture.stem, f"data:image/png;base64,{content}"
