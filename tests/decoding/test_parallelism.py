"""The decoding study's accuracy under parallelism, against areas worked out by hand."""

import importlib.util
import math
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "studies" / "decoding" / "aup.py"


@pytest.fixture(scope="module")
def area():
    spec = importlib.util.spec_from_file_location("aup", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.accuracy_under_parallelism


def test_equal_accuracy_gives_a_rectangle(area):
    assert area([(1, 80), (2, 80), (5, 80)]) == pytest.approx(5 * 80)
    assert area([(2, 50)]) == pytest.approx(100), "one point: what lies before it"


def test_lost_accuracy_weighs_more_than_it_is(area):
    # 80, and a trapezium of width 2 between 80 and 78 exp(-3 (1 - 78 / 80)) = 72.364
    by_hand = 80 + 2 * (80 + 72.364) / 2
    assert area([(1, 80), (3, 78)]) == pytest.approx(by_hand, abs=1e-3)
    assert area([(3, 78), (1, 80)]) == pytest.approx(by_hand, abs=1e-3), "in any order"


def test_gained_accuracy_is_what_others_are_held_against(area):
    low = 80 * math.exp(-3 * (1 - 80 / 90))
    assert area([(1, 80), (2, 90)]) == pytest.approx(80 + (low + 90) / 2)
    assert area([(1, 80), (2, 80)], best=90) == pytest.approx(80 + low)
    assert area([(1, 80), (2, 80)], best=70) == pytest.approx(160), "no weight is above 1"


def test_points_that_lose_more_than_five_are_left_out(area):
    assert area([(1, 80), (2, 80), (9, 74.9)]) == area([(1, 80), (2, 80)])
    assert area([(1, 80), (2, 80), (9, 75)]) > area([(1, 80), (2, 80)])
