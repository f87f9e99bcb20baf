"""The word-problem templates that gsm-mini draws its problems from.

A template is pure data: a sentence, the ranges its numbers come from, and the steps of
its solution. A step is written ``"label: left op right"``; an operand is a drawn number,
a literal, or the result of an earlier step (``s1``, ``s2``, ...). Names and things are
filled in from the pools below; ``{thing}`` is the same thing throughout a problem.
"""

from __future__ import annotations

from dataclasses import dataclass

NAMES = ("Mia", "Leo", "Ana", "Tom", "Zoe", "Sam", "Eva", "Max", "Ivy", "Ben", "Lily", "Omar")
THINGS = (
    "apples", "books", "cards", "pens", "shells", "coins", "stamps", "marbles",
    "cookies", "eggs", "flowers", "stickers",
)  # fmt: skip


@dataclass(frozen=True)
class Template:
    """One kind of problem.

    Attributes:
        name: unique among the templates.
        text: the question, with ``{name}``, ``{other}``, ``{thing}`` and one slot a number.
        ranges: for each number its smallest and largest value, both included.
        steps: the solution, one ``"label: left op right"`` a line.
    """

    name: str
    text: str
    ranges: dict[str, tuple[int, int]]
    steps: tuple[str, ...]


TEMPLATES: tuple[Template, ...] = (
    # --- two steps -------------------------------------------------------------------
    Template(
        "bags",
        "{name} has {a} {thing}. {name} buys {b} bags with {c} {thing} each. "
        "How many {thing} does {name} have now?",
        {"a": (2, 20), "b": (2, 9), "c": (2, 12)},
        ("bought: b * c", "total: a + s1"),
    ),
    Template(
        "gave-found",
        "{name} had {a} {thing}, gave {b} to {other} and then found {c} more. "
        "How many {thing} does {name} have now?",
        {"a": (8, 40), "b": (2, 20), "c": (2, 20)},
        ("left: a - b", "total: s1 + c"),
    ),
    Template(
        "sold-half",
        "{name} sold {a} {thing} in May and half as many in June. "
        "How many {thing} did {name} sell in all?",
        {"a": (4, 100)},
        ("june: a / 2", "total: a + s1"),
    ),
    Template(
        "share-boxes",
        "{name} puts {a} {thing} into {b} equal boxes, then takes {c} {thing} out of one box. "
        "How many {thing} are left in that box?",
        {"a": (6, 100), "b": (2, 9), "c": (1, 12)},
        ("box: a / b", "left: s1 - c"),
    ),
    Template(
        "change",
        "{name} buys {a} {thing} for ${b} each and pays with ${c}. "
        "How many dollars does {name} get back?",
        {"a": (2, 12), "b": (2, 12), "c": (20, 100)},
        ("cost: a * b", "change: c - s1"),
    ),
    Template(
        "twice-more",
        "{name} has {a} {thing}. {other} has {b} times as many. "
        "How many {thing} do they have together?",
        {"a": (2, 25), "b": (2, 6)},
        ("{other}: a * b", "total: a + s1"),
    ),
    Template(
        "rows-empty",
        "A hall has {a} rows of {b} seats. {c} seats are empty. How many seats are taken?",
        {"a": (2, 12), "b": (3, 12), "c": (1, 30)},
        ("seats: a * b", "taken: s1 - c"),
    ),
    Template(
        "pages",
        "A book has {a} pages. {name} reads {b} pages on the first day and splits the rest "
        "evenly over {c} days. How many pages is that each day?",
        {"a": (20, 120), "b": (2, 40), "c": (2, 9)},
        ("rest: a - b", "each: s1 / c"),
    ),
    Template(
        "wage",
        "{name} earns ${a} an hour. {name} works {b} hours on Monday and {c} hours on Friday. "
        "How many dollars does {name} earn?",
        {"a": (3, 12), "b": (2, 8), "c": (2, 8)},
        ("hours: b + c", "earned: a * s1"),
    ),
    Template(
        "team-split",
        "There are {a} girls and {b} boys. They form teams of {c}. How many teams are there?",
        {"a": (3, 40), "b": (3, 40), "c": (2, 10)},
        ("children: a + b", "teams: s1 / c"),
    ),
    # --- three steps -----------------------------------------------------------------
    Template(
        "two-kinds",
        "{name} buys {a} pens for ${b} each and {c} books for ${d} each. "
        "How many dollars does {name} spend?",
        {"a": (2, 9), "b": (2, 6), "c": (2, 9), "d": (3, 12)},
        ("pens: a * b", "books: c * d", "total: s1 + s2"),
    ),
    Template(
        "bake-sell",
        "{name} bakes {a} trays of {b} cookies, eats {c} and packs the rest in bags of {d}. "
        "How many bags are there?",
        {"a": (2, 9), "b": (4, 12), "c": (1, 15), "d": (2, 8)},
        ("baked: a * b", "left: s1 - c", "bags: s2 / d"),
    ),
    Template(
        "age",
        "{name} is {a} years old. {other} is {b} times as old. An aunt is {c} years older than "
        "{other}. How old will the aunt be in {d} years?",
        {"a": (3, 15), "b": (2, 5), "c": (2, 15), "d": (1, 12)},
        ("{other}: a * b", "aunt: s1 + c", "later: s2 + d"),
    ),
    Template(
        "bus",
        "A bus has {a} people. At the first stop {b} leave and {c} get on. "
        "At the next stop {d} get on. How many people are on the bus?",
        {"a": (10, 50), "b": (2, 20), "c": (2, 20), "d": (2, 15)},
        ("left: a - b", "first: s1 + c", "next: s2 + d"),
    ),
    Template(
        "save-weeks",
        "{name} wants a bike for ${a}. {name} has ${b} and gets ${c} from {other}. "
        "{name} saves ${d} a week. How many weeks does it take?",
        {"a": (40, 150), "b": (5, 40), "c": (5, 30), "d": (2, 12)},
        ("has: b + c", "needs: a - s1", "weeks: s2 / d"),
    ),
    Template(
        "farm-legs",
        "A farm has {a} cows and {b} ducks. A cow has 4 legs and a duck has 2 legs. "
        "How many legs are there?",
        {"a": (2, 20), "b": (2, 25)},
        ("cows: a * 4", "ducks: b * 2", "total: s1 + s2"),
    ),
    Template(
        "three-friends",
        "{name} has {a} {thing}. {other} has {b} more than {name}. They put them together and "
        "share them between {c} children. How many {thing} does each child get?",
        {"a": (4, 40), "b": (2, 20), "c": (2, 9)},
        ("{other}: a + b", "together: a + s1", "each: s2 / c"),
    ),
    Template(
        "garden",
        "{name} plants {a} rows of {b} flowers and {c} rows of {d} trees. "
        "How many more flowers than trees are there?",
        {"a": (3, 12), "b": (3, 12), "c": (2, 8), "d": (2, 8)},
        ("flowers: a * b", "trees: c * d", "more: s1 - s2"),
    ),
    Template(
        "read-week",
        "{name} reads {a} pages a day for {b} days and then {c} pages on Sunday. "
        "The book has {d} pages. How many pages are left?",
        {"a": (3, 15), "b": (2, 6), "c": (3, 30), "d": (40, 150)},
        ("read: a * b", "total: s1 + c", "left: d - s2"),
    ),
    Template(
        "half-then-give",
        "{name} has {a} {thing} and gives half of them to {other}. {other} had {b} {thing} and "
        "loses {c}. How many {thing} does {other} have?",
        {"a": (4, 80), "b": (2, 40), "c": (1, 20)},
        ("given: a / 2", "had: b + s1", "left: s2 - c"),
    ),
    # --- four steps ------------------------------------------------------------------
    Template(
        "shop-day",
        "A shop has {a} boxes of {b} {thing}. It sells {c} in the morning and {d} in the "
        "afternoon, then gets {e} more. How many {thing} does it have?",
        {"a": (3, 12), "b": (4, 12), "c": (2, 15), "d": (2, 15), "e": (2, 20)},
        ("stock: a * b", "morning: s1 - c", "afternoon: s2 - d", "total: s3 + e"),
    ),
    Template(
        "party",
        "{name} invites {a} girls and {b} boys. Each child gets {c} cookies. {name} has {d} "
        "cookies and bakes the rest in trays of {e}. How many trays does {name} bake?",
        {"a": (2, 12), "b": (2, 12), "c": (2, 6), "d": (2, 30), "e": (2, 10)},
        ("children: a + b", "cookies: s1 * c", "rest: s2 - d", "trays: s3 / e"),
    ),
    Template(
        "trip",
        "{name} drives {a} miles an hour for {b} hours and {c} miles an hour for {d} hours. "
        "The trip is {e} miles. How many miles are left?",
        {"a": (5, 20), "b": (2, 5), "c": (5, 20), "d": (2, 5), "e": (60, 200)},
        ("first: a * b", "second: c * d", "driven: s1 + s2", "left: e - s3"),
    ),
    Template(
        "profit",
        "{name} buys {a} {thing} for ${b} each and sells them for ${c} each. {name} pays ${d} "
        "for a table. How many dollars does {name} gain?",
        {"a": (3, 12), "b": (2, 8), "c": (4, 16), "d": (1, 20)},
        ("cost: a * b", "sales: a * c", "gain: s2 - s1", "left: s3 - d"),
    ),
    Template(
        "team-points",
        "{name} scores {a} points in each of {b} games. {other} scores {c} points fewer in all. "
        "Then both together lose {d} points. How many points do they have together?",
        {"a": (3, 12), "b": (2, 8), "c": (2, 20), "d": (1, 15)},
        ("{name}: a * b", "{other}: s1 - c", "both: s1 + s2", "left: s3 - d"),
    ),
    Template(
        "class-books",
        "A class of {a} girls and {b} boys shares {c} boxes of {d} books evenly. "
        "{name} already has {e} books. How many books does {name} have then?",
        {"a": (2, 12), "b": (2, 12), "c": (2, 12), "d": (4, 12), "e": (1, 12)},
        ("children: a + b", "books: c * d", "each: s2 / s1", "total: s3 + e"),
    ),
    Template(
        "week-money",
        "{name} gets ${a} a day for {b} days, spends ${c} on lunch and ${d} on a toy, and puts "
        "the rest into {e} equal jars. How many dollars are in one jar?",
        {"a": (4, 15), "b": (3, 7), "c": (2, 15), "d": (2, 15), "e": (2, 6)},
        ("gets: a * b", "lunch: s1 - c", "toy: s2 - d", "jar: s3 / e"),
    ),
    Template(
        "eggs-week",
        "{name} has {a} hens. Each lays {b} eggs. {name} eats {c} eggs, breaks {d}, and sells "
        "the rest for $2 each. How many dollars does {name} get?",
        {"a": (2, 12), "b": (3, 8), "c": (1, 10), "d": (1, 8)},
        ("eggs: a * b", "eaten: s1 - c", "left: s2 - d", "dollars: s3 * 2"),
    ),
)
