"""gsm-mini: generated grade-school word problems in GSM8K's own JSONL form.

Every problem is drawn from a template (`hwsearch.tasks.gsm_mini.templates`), solved in two to four
steps and written as GSM8K writes its answers, calculator notes included::

    >>> from hwsearch.tasks.gsm_mini.generator import problems
    >>> problem = next(problems("test", seed=0))
    >>> problem.answer.splitlines()[-1].startswith("#### ")
    True

The four splits are disjoint by *numbers*, not by wording: which split a problem belongs to
is decided by a hash of its template and its drawn numbers, so no test problem is a training
problem with another name in it.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

from hwsearch.errors import UnknownNameError
from hwsearch.tasks.gsm_mini.templates import NAMES, TEMPLATES, THINGS, Template
from hwsearch.tasks.problem import Problem

#: Share of all number draws that belongs to each split, in per cent.
SPLITS = {"train": 88, "calibration": 4, "validation": 4, "test": 4}

#: No number in a problem, given or computed, is larger than this.
LARGEST_NUMBER = 200


def problems(split: str, seed: int = 0) -> Iterator[Problem]:
    """Endless stream of problems of one split; the same seed gives the same stream.

    Args:
        split: one of `SPLITS`.
        seed: any integer.

    Raises:
        UnknownNameError: `split` is not one of `SPLITS`.
    """
    if split not in SPLITS:
        raise UnknownNameError("split", split, SPLITS)
    rng = random.Random(f"gsm-mini/{split}/{seed}")
    while True:
        template = rng.choice(TEMPLATES)
        numbers = _draw(template, rng)
        if numbers is not None and split_of(template.name, numbers) == split:
            yield _write(template, numbers, rng)


def split_of(template_name: str, numbers: dict[str, int]) -> str:
    """The split that a template with these numbers belongs to."""
    key = f"{template_name}:{sorted(numbers.items())}"
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 100
    for split, share in SPLITS.items():
        if bucket < share:
            return split
        bucket -= share
    raise AssertionError("the split shares add up to 100")


def _draw(template: Template, rng: random.Random) -> dict[str, int] | None:
    """Numbers for a template, or None where a step leaves the whole numbers 1..LARGEST_NUMBER."""
    numbers = {slot: rng.randint(low, high) for slot, (low, high) in template.ranges.items()}
    return numbers if _solve(template, numbers) is not None else None


def _solve(template: Template, numbers: dict[str, int]) -> list[tuple[str, str, int]] | None:
    """The steps as (label, expression, value), or None where a value is not allowed."""
    known, solved = dict(numbers), []
    for index, step in enumerate(template.steps, start=1):
        label, formula = step.split(": ")
        left, op, right = formula.split(" ")
        x, y = (known.get(term) or int(term) for term in (left, right))
        value = _calculate(x, op, y)
        if value is None or not 1 <= value <= LARGEST_NUMBER:
            return None
        known[f"s{index}"] = value
        solved.append((label, f"{x}{op}{y}", value))
    return solved


def _calculate(x: int, op: str, y: int) -> int | None:
    """x op y, or None where a division leaves a remainder."""
    if op == "/":
        return x // y if x % y == 0 else None
    return {"+": x + y, "-": x - y, "*": x * y}[op]


def _write(template: Template, numbers: dict[str, int], rng: random.Random) -> Problem:
    name, other = rng.sample(NAMES, 2)
    words = {"name": name, "other": other, "thing": rng.choice(THINGS)}
    solved = _solve(template, numbers)
    assert solved is not None, "only solvable numbers are drawn"
    lines = [
        f"{label.format(**words)} <<{expression}={value}>>{value}"
        for label, expression, value in solved
    ]
    return Problem(
        question=template.text.format(**words, **numbers),
        answer="\n".join([*lines, f"#### {solved[-1][2]}"]),
    )
