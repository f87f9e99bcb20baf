"""The CSV of a latency table: one row is one sample; what is wrong is refused by row."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from hwsearch.errors import TableError
from hwsearch.files import FileKind, read_text
from hwsearch.files.kinds import MIB
from hwsearch.files.tables import parse_csv
from hwsearch.latency.operators import KINDS, OpKey
from hwsearch.plan import WeightFormat

if TYPE_CHECKING:
    import pandas as pd

KEY_COLUMNS = [field.name for field in fields(OpKey)]
COLUMNS = [*KEY_COLUMNS, "session", "sample", "sample_us"]
_SIZES = ["rows", "in_features", "out_features", "heads", "kv_heads", "session", "sample"]

#: The largest size that is believed.
MOST_SIZE = 1 << 40

#: The file of a table.
TABLE_FILE = FileKind("latency table", 256 * MIB, TableError)

#: Sizes that no operator goes without.
_LEAST = {"rows": 1, "in_features": 1}

#: Formats that a table may hold beside those of a plan: timed on GPUs, to be compared.
EXTRA_FORMATS = ("fp16-2:4",)

#: Decimals of a sample in microseconds, as a CSV keeps it.
DIGITS = 3

#: Longest sample that is believed, in microseconds.
LONGEST_US = 1e9


def write_samples(samples: Mapping[OpKey, tuple[tuple[float, ...], ...]], path: Path) -> None:
    """Write samples, operators in order."""
    import pandas as pd  # half a second, which a device without a table need not wait for

    rows = [
        (*(getattr(key, column) for column in KEY_COLUMNS), session, index, round(sample, DIGITS))
        for key in sorted(samples)
        for session, timed in enumerate(samples[key])
        for index, sample in enumerate(timed)
    ]
    pd.DataFrame(rows, columns=COLUMNS).to_csv(path, index=False)


def read_samples(path: Path) -> dict[OpKey, tuple[tuple[float, ...], ...]]:
    """Samples by operator, session by session.

    Raises:
        TableError: the file cannot be read, columns are wrong or in another order, or a row is
            impossible, missing, out of order or there twice; the message names file and row.
    """
    text = read_text(path, TABLE_FILE)
    frame = parse_csv(text, path, TABLE_FILE)
    check_columns(list(map(str, frame.columns)), path)
    if frame.empty:
        raise TableError(f"{path}: no rows")
    check_rows(frame, path)
    check_order(frame, path)
    check_operators(frame, path)
    check_end(text, path)
    return samples_of(frame)


def samples_of(frame: pd.DataFrame) -> dict[OpKey, tuple[tuple[float, ...], ...]]:
    """Samples by operator, session by session, of rows that were checked."""
    samples: dict[OpKey, tuple[tuple[float, ...], ...]] = {}
    for values, group in frame.groupby(KEY_COLUMNS, sort=False):
        by_session = group.groupby("session")["sample_us"]
        samples[_key(values)] = tuple(tuple(part) for _, part in by_session)
    return samples


def check_columns(found: list[str], path: Path) -> None:
    """Refuse columns that are missing, more, or in another order. Raises `TableError`."""
    if found != COLUMNS:
        raise TableError(
            f"{path}: columns must be {','.join(COLUMNS)} in this order, times in "
            f"microseconds; got {','.join(found)}"
        )


def check_rows(
    frame: pd.DataFrame, path: Path, first_line: int = 2, kinds: Sequence[str] = tuple(KINDS)
) -> None:
    """Refuse a row with an impossible value. Raises `TableError`, naming the line.

    Args:
        frame: the rows.
        path: the file, for the message.
        first_line: line of the file that the first row stands on.
        kinds: what may be timed.
    """
    for column in [*_SIZES, "sample_us"]:
        if not _holds_numbers(frame[column]):
            row = _first_text(frame[column])
            refuse(path, row + first_line, f"{column} must be a number", frame[column][row])
    for column, good, rule in _rules(frame, kinds):
        if not good.all():
            row = int((~good).to_numpy().argmax())
            refuse(path, row + first_line, rule, frame[column][row])


def _holds_numbers(column: pd.Series) -> bool:
    return column.dtype.kind in "iuf"


def _first_text(column: pd.Series) -> int:
    """The first row that is no number; the first of all where every one can be read as one."""
    for row, value in enumerate(column):
        try:
            if math.isnan(float(value)):
                return row
        except (TypeError, ValueError, OverflowError):
            return row
    return 0


def check_order(frame: pd.DataFrame, path: Path, first_line: int = 2) -> None:
    """Refuse samples that are missing, out of order or there twice. Raises `TableError`.

    Within an operator and session they count 0, 1, 2 ...; an operator's sessions do, too.
    """
    group = frame.groupby([*KEY_COLUMNS, "session"], sort=False)
    expected = group.cumcount()
    _refuse_first(frame["sample"], expected, "sample", path, first_line)
    sessions = frame.groupby(KEY_COLUMNS, sort=False)["session"]
    expected_sessions = sessions.transform(lambda part: part.factorize()[0])
    _refuse_first(frame["session"], expected_sessions, "session", path, first_line)


def check_operators(frame: pd.DataFrame, path: Path) -> None:
    """Refuse operators that do not stand together and in order. Raises `TableError`."""
    last = None
    for row, values in enumerate(frame[KEY_COLUMNS].itertuples(index=False, name=None)):
        key = _key(values)
        if last is not None and key < last:
            rule = "operators must stand together, in the order that they were written in"
            refuse(path, row + 2, rule, str(key))
        last = key


def check_end(text: str, path: Path) -> None:
    """Refuse a file that was cut within its last row. Raises `TableError`."""
    if not text.endswith("\n"):
        rule = "the last row must end its line: the file was cut within it"
        refuse(path, text.count("\n") + 1, rule, text.rpartition("\n")[2])


def _refuse_first(
    found: pd.Series, expected: pd.Series, column: str, path: Path, first_line: int
) -> None:
    wrong = (found.to_numpy() != expected.to_numpy()).astype(bool)
    if wrong.any():
        row = int(wrong.argmax())
        number, due = int(found.iloc[row]), int(expected.iloc[row])
        rule = f"{column} must be {due} here: a row before it is missing, moved or there twice"
        refuse(path, row + first_line, rule, number)


def _rules(frame: pd.DataFrame, kinds: Sequence[str]) -> Iterator[tuple[str, pd.Series, str]]:
    """Column, which of its rows are good, and what makes a row good."""
    formats = [*(fmt.value for fmt in WeightFormat), *EXTRA_FORMATS]
    yield "kind", frame["kind"].isin(kinds), f"kind must be one of {', '.join(kinds)}"
    yield "format", frame["format"].isin(formats), f"format must be one of {', '.join(formats)}"
    sample = frame["sample_us"].between(0, LONGEST_US, inclusive="neither")
    yield "sample_us", sample, f"sample_us must lie between 0 and {LONGEST_US:g} microseconds"
    for size in _SIZES:
        least = _LEAST.get(size, 0)
        within = frame[size].between(least, MOST_SIZE)
        rule = f"{size} must be a whole number from {least} to {MOST_SIZE}"
        yield size, within & (frame[size] % 1 == 0), rule
    heads = frame["heads"].replace(0, np.nan)
    shared = (frame["kv_heads"] == 0) | (heads % frame["kv_heads"].replace(0, np.nan) == 0)
    yield "kv_heads", shared, "kv_heads must divide heads, or be 0"


def _key(values: Any) -> OpKey:
    """Key of a row's columns as Python values (pandas hands out its own integers)."""
    kind, rows, in_features, out_features, heads, fmt, kv_heads = values
    sizes = int(rows), int(in_features), int(out_features), int(heads)
    return OpKey(str(kind), *sizes, str(fmt), int(kv_heads))


def refuse(path: Path, line: int, rule: str, value: object) -> NoReturn:
    """Raise `TableError` for a line of a file."""
    plain = value.item() if isinstance(value, np.generic) else value
    raise TableError(f"{path}, row {line}: {rule}; got {plain!r}")
