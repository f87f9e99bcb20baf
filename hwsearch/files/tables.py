"""Tables from outside, in CSV: one header, as many values a row as it names."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from hwsearch.files.kinds import FileKind
from hwsearch.files.opening import read_text
from hwsearch.files.refusals import quoted

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
