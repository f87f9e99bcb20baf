from __future__ import annotations

import pytest

from hwsearch.tasks.extraction import (
    COT_STRICT,
    FLEXIBLE,
    INVALID,
    STRICT,
    exact_match,
    normalise,
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("3 + 4 = 7\n#### 7", "7"),
        ("#### -1,234.50", "-1,234.50"),
        ("#### 18.", "18."),
        ("#### 18 apples\n#### 19", "18"),
        ("####  18", INVALID),
        ("####18", INVALID),
        ("#### $18", INVALID),
        ("#### \u221218", INVALID),
        ("#### eighteen", INVALID),
        ("the answer is 18", INVALID),
        ("", INVALID),
    ],
)
def test_strict_match(text, found):
    assert STRICT.extract(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The answer is 18.", "18"),
        ("The answer is 18.\n", "18"),
        ("The answer is 18", "1"),  # the last dot of the rule takes a digit where nothing follows
        ("The answer is 8", INVALID),
        ("The answer is $18.", INVALID),
        ("The answer is 1,800 apples.", "1,800"),
        ("The answer is -5 degrees.", "-5"),
        ("The answer is \u22125.", INVALID),
        ("the answer is 18.", INVALID),
        ("The answer is 3. The answer is 4.", "3."),
        ("", INVALID),
    ],
)
def test_strict_match_of_cot(text, found):
    assert COT_STRICT.extract(text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("She has $1,024.", "$1,024."),
        ("5 apples and 7 pears", "7"),
        ("from 12 to -30 degrees", "-30"),
        ("3-5", "-5"),
        ("it is \u22125", "5"),
        ("18 in all...", "..."),
        ("18, then", "18,"),
        ("no number. None, really", INVALID),
        ("", INVALID),
    ],
)
def test_flexible_extract_takes_the_last(text, found):
    assert FLEXIBLE.extract(text) == found


@pytest.mark.parametrize(
    ("prediction", "reference", "equal"),
    [
        ("18.", "18", True),
        ("$1,024.", "so 1,024\n#### 1024", True),
        ("1024", "#### 5\n#### 1024", True),
        ("12.0", "12", False),
        ("012", "12", False),
        ("18..", "18", False),
        (INVALID, "18", False),
        ("", "18", False),
        ("-5", "-5", True),
        ("\u22125", "-5", False),
    ],
)
def test_exact_match(prediction, reference, equal):
    assert exact_match(prediction, reference) is equal


def test_normalise_follows_the_order_of_its_rules():
    # the comma goes first, so what it parted becomes the mark that everything before is cut at
    assert normalise("##,## Seven") == "seven"
    assert normalise("A, $B.") == "a b"
