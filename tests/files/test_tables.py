"""Columns of a table that must be numbers are held against their bounds, row by row."""

import pytest

from hwsearch.errors import TableError
from hwsearch.files import FileKind
from hwsearch.files.tables import check_numbers, parse_csv

KIND = FileKind("table", 1 << 20, TableError, "make it again")


def checked(text):
    frame = parse_csv(text, "t.csv", KIND)
    check_numbers(frame, {"ms": (0.0, 100.0)}, "t.csv", KIND)
    return frame["ms"].tolist()


def test_numbers_within_bounds_pass():
    assert checked("name,ms\na,0\nb,99.5\n") == [0.0, 99.5]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,1\nb,x", "row 3: ms must be a number from 0 to 100, got 'x'"),
        ("a,1\nb,", "row 3: ms must be a number from 0 to 100, got nan"),
        ("a,-1", "row 2: .* got -1"),
        ("a,inf", "row 2: .* got inf"),
        ("a,101", "row 2: .* got 101"),
        ("a,True\nb,False", "row 2: .* got True"),
        ("a," + "9" * 400, "row 2: ms must be a number"),
    ],
)
def test_anything_else_is_refused_by_row(rows, said):
    with pytest.raises(TableError, match=said) as refused:
        checked(f"name,ms\n{rows}\n")
    assert len(str(refused.value).splitlines()) == 1


def test_a_column_that_is_missing_is_named():
    with pytest.raises(TableError, match="must have a column 'ms'"):
        checked("name,us\na,1\n")
