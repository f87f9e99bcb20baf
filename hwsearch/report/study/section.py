"""What a page consists of: sections, figures and tables, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

#: A Vega-Lite specification.
Spec = Mapping[str, Any]


class MissingFactsError(Exception):
    """A section cannot be shown; its text says what is missing and which command would add it."""


@dataclass(frozen=True)
class Table:
    """Text in rows and columns.

    Attributes:
        columns: headings.
        rows: cells.
        caption: what it shows.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture and the table of what it shows.

    Attributes:
        name: of its files.
        title: what it shows.
        alt: the same in one or two sentences, for whoever does not see it.
        spec: how it is drawn.
        table: its data.
        note: how to read it.
    """

    name: str
    title: str
    alt: str
    spec: Spec
    table: Table
    note: str = ""


@dataclass(frozen=True)
class Tile:
    """One number that counts.

    Attributes:
        label: what it is.
        value: the number, with its unit.
        detail: what it is held against.
    """

    label: str
    value: str
    detail: str = ""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        key: its address within the page.
        title: its heading.
        words: paragraphs.
        tiles: numbers that count.
        figures: pictures.
        tables: tables that are shown as they are.
        commands: text to paste, by what it does.
        missing: why there is nothing, in one line; empty where there is.
    """

    key: str
    title: str
    words: tuple[str, ...] = ()
    tiles: tuple[Tile, ...] = ()
    figures: tuple[Figure, ...] = ()
    tables: tuple[Table, ...] = ()
    commands: Mapping[str, str] = field(default_factory=dict)
    missing: str = ""
