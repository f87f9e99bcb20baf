"""A few shapes as SVG text: what the pictures of these pages are drawn with, without any library."""

from __future__ import annotations

from html import escape
from pathlib import Path

BLUE, ORANGE, GREEN, GREY, PALE, INK = (
    "#2f6db3",
    "#d9822b",
    "#3a8f5c",
    "#9aa3ad",
    "#eef2f6",
    "#22303c",
)


class Picture:
    """Shapes on a white sheet, written as one SVG file."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = width, height, title
        self.shapes: list[str] = []

    def box(self, x, y, width, height, fill=PALE, stroke="none", radius=4) -> None:
        """A rectangle with round corners."""
        self.shapes.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" rx="{radius:g}" '
            f'fill="{fill}" stroke="{stroke}"/>'
        )

    def text(self, x, y, words, size=13, anchor="start", fill=INK, bold=False) -> None:
        """A line of words; y is its base line."""
        weight = ' font-weight="600"' if bold else ""
        self.shapes.append(
            f'<text x="{x:g}" y="{y:g}" font-size="{size:g}" text-anchor="{anchor}" fill="{fill}"{weight}>'
            f"{escape(words)}</text>"
        )

    def line(self, points, stroke=GREY, width=1.5, dashed=False, arrow=False) -> None:
        """A line through points, with an arrow at its end if asked for."""
        path = " ".join(f"{x:g},{y:g}" for x, y in points)
        more = ' stroke-dasharray="4 4"' if dashed else ""
        more += ' marker-end="url(#arrow)"' if arrow else ""
        self.shapes.append(
            f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="{width:g}"{more}/>'
        )

    def dot(self, x, y, radius=4.0, fill=BLUE, opacity=1.0) -> None:
        """A filled circle."""
        self.shapes.append(
            f'<circle cx="{x:g}" cy="{y:g}" r="{radius:g}" fill="{fill}" opacity="{opacity:g}"/>'
        )

    def labelled(self, x, y, width, height, *lines, fill=PALE, ink=INK, size=13) -> None:
        """A box with lines of words in its middle, the first of them bold."""
        self.box(x, y, width, height, fill)
        top = y + height / 2 - (len(lines) - 1) * (size + 3) / 2 + size * 0.35
        for index, words in enumerate(lines):
            self.text(
                x + width / 2, top + index * (size + 3), words, size, "middle", ink, bold=not index
            )

    def svg(self) -> str:
        """The whole file."""
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width:g} {self.height:g}" '
            f'width="{self.width:g}" font-family="system-ui, sans-serif" role="img">'
        )
        arrow = (
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            f'markerHeight="7" orient="auto"><path d="M0,0 L8,4 L0,8 z" fill="{GREY}"/></marker></defs>'
        )
        sheet = f'<rect width="{self.width:g}" height="{self.height:g}" fill="#ffffff"/>'
        title = f"<title>{escape(self.title)}</title>"
        return "\n".join([head, title, arrow, sheet, *self.shapes, "</svg>"]) + "\n"

    def write(self, path: Path) -> None:
        """Save it."""
        path.write_text(self.svg(), encoding="utf-8")
