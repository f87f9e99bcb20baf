"""Specifications → SVG and PNG, without a browser."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType

from hwsearch.errors import InputError
from hwsearch.report.study.section import Figure

#: Vega-Lite that the specifications are written in.
_VERSION = "6.1"

#: Pixels of a PNG for each of its figure.
_SCALE = 2.0

_PART = re.compile(r'(\bid="|url\(#|href="#)([^")]+)')
_ROOT = re.compile(r"<svg [^>]*?viewBox=\"([\d. -]+)\"[^>]*>")


def svg(figure: Figure) -> str:
    """The drawing as SVG. Raises `InputError` where the package that draws is not installed."""
    return str(_converter().vegalite_to_svg(dict(figure.spec), vl_version=_VERSION))


def inline_svg(figure: Figure) -> str:
    """The same to stand in a page: as wide as there is room, with a text for whoever does not see it."""
    # several drawings stand in one page, and each counts its parts from 0
    text = _PART.sub(rf"\1{figure.name}-\2", svg(figure))
    found = _ROOT.search(text)
    assert found is not None, "an SVG has a view box"
    box = found.group(1)
    wide = float(box.split()[2])
    opening = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" role="graphics-document" '
        f'style="max-width:{wide:.0f}px" aria-labelledby="{figure.name}-title" '
        f'aria-describedby="{figure.name}-alt">'
    )
    return opening + text[found.end() :]


def write_pictures(figure: Figure, folder: Path) -> list[Path]:
    """Write ``NAME.svg`` and ``NAME.png`` on a white ground; what was written."""
    drawn = svg(Figure(**{**vars(figure), "spec": _on_white(figure)}))
    paths = [folder / f"{figure.name}.svg", folder / f"{figure.name}.png"]
    paths[0].write_text(drawn, encoding="utf-8")
    paths[1].write_bytes(_converter().svg_to_png(drawn, scale=_SCALE))
    return paths


def _on_white(figure: Figure) -> dict[str, object]:
    config = {**figure.spec["config"], "background": "white"}
    return {**figure.spec, "config": config}


def _converter() -> ModuleType:
    try:
        import vl_convert
    except ImportError as error:
        raise InputError('reports need vl-convert: pip install "hwsearch[report]"') from error
    found: ModuleType = vl_convert
    return found
