"""Tables from outside, in CSV: one header, as many values a row as it names."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from hwsearch.files.kinds import FileKind
from hwsearch.files.opening import read_text
from hwsearch.files.refusals import quoted
from hwsearch.schema import shown_value

if TYPE_CHECKING:
    import pandas as pd


def read_csv(path: Path | str, kind: FileKind) -> pd.DataFrame:
    """The rows of a CSV file. Raises as `open_plain` and `parse_csv`."""
    return parse_csv(read_text(path, kind), path, kind)


def parse_csv(text: str, where: object, kind: FileKind) -> pd.DataFrame:
    """The rows of CSV text, numbers as numbers.

    Raises:
        HwsearchError: of the kind: there is no header, or a row has more values than it names.
    """
    import pandas as pd

    if "\0" in text:
        raise kind.refuse(where, "a table is text, and this holds a zero byte")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", pd.errors.ParserWarning)  # a row that is too long
            return pd.read_csv(io.StringIO(text), index_col=False, low_memory=False)
    except (ValueError, OverflowError, pd.errors.ParserWarning) as error:
        raise kind.refuse(where, f"cannot read it as a table: {quoted(error)}") from error


def check_numbers(
    frame: pd.DataFrame,
    columns: Mapping[str, tuple[float, float]],
    where: object,
    kind: FileKind,
) -> None:
    """See that columns hold numbers within bounds.

    Args:
        frame: the rows of a file, its header left out.
        columns: the least and the largest value of each.
        where: the file.
        kind: what it shall be.

    Raises:
        HwsearchError: of the kind: a column is missing, or a row holds something else; the message names
            row and column.
    """
    for name, (least, most) in columns.items():
        if name not in frame.columns:
            raise kind.refuse(where, f"it must have a column {name!r}")
        for row, value in enumerate(frame[name].tolist()):
            if not least <= _number(value) <= most:
                raise kind.refuse(
                    where,
                    f"row {row + 2}: {name} must be a number from {least:g} to {most:g}, got "
                    f"{shown_value(value)}",
                )
        if frame[name].dtype.kind not in "iuf":
            raise kind.refuse(where, f"{name} must be numbers, and they are {frame[name].dtype}")


def _number(value: object) -> float:
    """A number of a column; NaN for what is none. One text makes texts of a whole column."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return math.nan
    try:
        return float(value)
    except (ValueError, OverflowError):
        return math.nan
