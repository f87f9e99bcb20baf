"""Tables of these studies: a CSV whose rows are replaced one by one."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, object]


def put(path: Path, row: Row, key: Sequence[str], order: Callable[[Row], Any]) -> None:
    """Put a row into a table, in place of one that is alike in `key`.

    Args:
        path: the table; made where it is not there.
        row: all columns, in their order.
        key: columns that tell rows apart.
        order: what rows are sorted by; those that are equal stay as they are.
    """
    rows: list[Row] = []
    if path.exists():
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    rows = [one for one in rows if any(one[name] != str(row[name]) for name in key)] + [row]
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, list(row))
        table.writeheader()
        table.writerows(sorted(rows, key=order))
