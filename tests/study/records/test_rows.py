"""The front and its ties, as rows and as a table."""

import math

import pytest

from hwsearch.plan import CompressionPlan
from hwsearch.study.records.rows import FrontRow, TrialRow, frame_of, front_of, tied_together

PLAN = CompressionPlan.uniform(2)


def row(number, loss, ms, uniform=False):
    return TrialRow(number, loss, ms, math.nan, 100, 4.0, True, uniform, PLAN)


def rows(*losses):
    return [row(10 + place, loss, float(place)) for place, loss in enumerate(losses)]


@pytest.mark.parametrize(
    ("losses", "noise", "together"),
    [
        ((0.5, 0.3, 0.1), None, [[10], [11], [12]]),
        ((0.5, 0.3, 0.1), 0.1, [[10], [11], [12]]),
        ((0.5, 0.45, 0.1), 0.1, [[10, 11], [10, 11], [12]]),
        # what is tied with a third is not tied with each other
        ((0.5, 0.42, 0.34), 0.1, [[10, 11], [10, 11, 12], [11, 12]]),
        ((0.5, 0.5), 0.0, [[10, 11], [10, 11]]),
    ],
)
def test_plans_no_further_apart_than_the_noise_are_tied(losses, noise, together):
    assert tied_together(rows(*losses), noise) == together


def test_the_front_is_what_no_other_row_beats():
    tried = [
        row(0, 0.0, 9.0, uniform=True),
        row(1, 0.4, 2.0, uniform=True),
        row(2, 0.5, 3.0),  # slower than 1, and loses more
        row(3, 0.1, 5.0),
        row(4, 0.9, 1.0),
        row(5, 0.1, 6.0),  # as good as 3, and slower
    ]
    front = front_of(tried, 0.1)
    assert [one.number for one in front] == [4, 1, 3, 0]
    assert [one.uniform_loss for one in front[1:]] == [0.4, 0.4, 0.0]
    assert math.isnan(front[0].uniform_loss), "no uniform plan is as fast"
    assert [one.tied for one in front] == [[], [], [0], [3]]
    assert [one.tied_choice for one in front] == [None, None, 3, 3]
    assert {one.noise for one in front} == {0.1}
    assert all(math.isnan(one.noise) for one in front_of(tried, None))


def test_a_table_has_a_column_a_field_and_numbers_as_such():
    table = frame_of(front_of(rows(0.5, 0.45, 0.1), 0.1), FrontRow)
    assert table["number"].tolist() == [10, 11, 12]
    assert table["tied"].tolist() == [[11], [10], []]
    assert table["tied_choice"].tolist() == [10, 10, None]
    assert table["size_bytes"].dtype.kind == "i" and table["feasible"].dtype == bool


def test_a_table_without_rows_can_be_asked_as_one_with_rows():
    table = frame_of([])
    assert list(table) == list(row(0, 0.1, 1.0).values())
    assert table[table["feasible"] & (table["generation_ms"] <= 1.0)].empty
    assert frame_of(front_of([], 0.1), FrontRow)["tied_choice"].tolist() == []
