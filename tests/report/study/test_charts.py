"""Parts of figures: ticks, and room for words whatever font a reader has."""

import pytest

from hwsearch.report.study.charts import log_axis, names, spread_ticks, whole_numbers


@pytest.mark.parametrize(
    ("count", "ticks"),
    [
        (0, [0]),
        (3, [0, 1, 2]),
        (13, [0, 2, 4, 6, 8, 10, 12]),
        (26, [0, 3, 6, 9, 12, 15, 18, 21, 24]),
    ],
)
def test_whole_numbers_have_whole_ticks_from_nought(count, ticks):
    axis = whole_numbers("number", "trial", list(range(count)))
    assert axis["axis"]["values"] == ticks


def test_gaps_between_numbers_add_no_ticks():
    """Trials that failed are not among those shown."""
    assert whole_numbers("number", "trial", [0, 239])["axis"]["values"] == list(range(0, 240, 20))


def test_names_at_the_left_have_room_for_the_widest_font():
    order = ["cpu", "jetson-orin-nano-super-25w"]
    # DejaVu Sans, the widest usual substitute for Arial, takes 7.2 pixels a letter in the mean
    assert names("device", order)["axis"]["minExtent"] >= 7.2 * len(order[1])
    assert names("dial", order, orient="top")["axis"]["minExtent"] == 0


def test_a_logarithmic_axis_ends_beyond_its_values_and_ticks_lie_within():
    axis = log_axis("ms", "ms", [2.0, 50.0], (1, 5))
    low, high = axis["scale"]["domain"]
    assert low < 2.0 and high > 50.0
    assert axis["axis"]["values"] == [5.0, 10.0, 50.0]
    ends = log_axis("loss", "nats", [1e-15, 1.7e308], (1,))["scale"]["domain"]
    assert 0 < ends[0] < 1e-15 and 1.7e308 < ends[1] < float("inf")
    alone = log_axis("ms", "ms", [4.0], (1,))["scale"]["domain"]
    assert alone == pytest.approx([4.0 / 1.5, 4.0 * 1.5])


@pytest.mark.parametrize(
    ("values", "ticks"),
    [([1, 5e3], (1,)), ([1, 200], (1, 3)), ([1, 50], (1, 2, 5)), ([2, 2], tuple(range(1, 10)))],
)
def test_the_longer_an_axis_the_fewer_ticks(values, ticks):
    assert spread_ticks(values) == ticks
