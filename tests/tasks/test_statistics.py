from __future__ import annotations

import random

import pytest

from hwsearch.tasks.statistics import compare, wilson

pytest.importorskip("scipy")


def pairs(both, only_first, only_second, neither):
    first = [True] * (both + only_first) + [False] * (only_second + neither)
    second = [True] * both + [False] * only_first + [True] * only_second + [False] * neither
    return first, second


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # the first and third are worked examples of Newcombe, Statistics in Medicine 17 (1998) 857
    [(81, 263, 0.2553, 0.3662), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_against_published_values(successes, trials, low, high):
    interval = wilson(successes, trials)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


def test_wilson_needs_possible_counts():
    for successes, trials in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError):
            wilson(successes, trials)


@pytest.mark.parametrize(
    ("table", "low", "high"),
    [((36, 12, 2, 0), 0.0569, 0.3404), ((1, 1, 7, 12), -0.507, -0.026)],
)
def test_newcombe_against_published_values(table, low, high):
    interval = compare(*pairs(*table)).interval
    assert interval.low == pytest.approx(low, abs=5e-4)
    assert interval.high == pytest.approx(high, abs=5e-4)


def test_mcnemar_is_a_sign_test_on_the_problems_one_model_solved():
    found = compare(*pairs(50, 1, 9, 40))
    # 2 * (C(10, 0) + C(10, 1)) / 2**10
    assert found.p_value == pytest.approx(22 / 1024)
    assert found.difference == pytest.approx(-0.08)
    assert (found.only_first, found.only_second, found.count) == (1, 9, 100)


def test_swapping_the_models_mirrors_the_answer():
    first, second = pairs(40, 15, 5, 40)
    one, other = compare(first, second), compare(second, first)
    assert one.p_value == other.p_value
    assert one.interval.low == pytest.approx(-other.interval.high)


def test_equal_models_do_not_differ():
    found = compare([True, False, True], [True, False, True])
    assert found.p_value == 1.0
    assert found.interval.low <= 0.0 <= found.interval.high


def test_pairs_must_match_and_exist():
    with pytest.raises(ValueError):
        compare([True], [True, False])
    with pytest.raises(ValueError, match="problem"):
        compare([], [])


def test_interval_covers_the_truth_about_as_often_as_it_says():
    rng = random.Random(0)
    covered = 0
    for _ in range(200):
        rows = [(rng.random(), rng.random()) for _ in range(60)]
        # the second model solves what the first does, but for one problem in five
        first = [a < 0.7 for a, _ in rows]
        second = [a < 0.7 and b < 0.8 for a, b in rows]
        interval = compare(first, second).interval
        covered += interval.low <= 0.14 <= interval.high
    assert 180 <= covered <= 200
