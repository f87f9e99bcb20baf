"""Prices by the answers that texts arrive at."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from hwsearch.tasks.extraction import INVALID, STRICT, Filter, exact_match, normalise
from hwsearch.tasks.losses.pricing.decoded import Decoded, DecodedProblems
from hwsearch.tasks.statistics import wilson


class AnswerAgreement:
    """The prices ``answers`` and ``texts``: share of problems answered otherwise than uncompressed.

    Idea: what exact match sees, without right answers. Limits: in steps of one problem; an answer
    that was put right costs as much as one that was spoilt. A text without an answer is its own.

    Args:
        problems: what is decoded.
        rule: how an answer is found in a text; None compares whole texts.
    """

    cost = 0.0

    def __init__(self, problems: DecodedProblems, rule: Filter | None = STRICT) -> None:
        self.problems, self.rule = problems, rule
        self.name = "texts" if rule is None else "answers"

    def price(self, decoded: Decoded) -> float:
        """Share of problems, 0 to 1."""
        differ = self.differ(decoded)
        return sum(differ) / len(differ)

    def differ(self, decoded: Decoded) -> list[bool]:
        """Whether each answer is another than the uncompressed model's."""
        found = map(self._answer, self.problems.texts(decoded))
        return [new != old for new, old in zip(found, self._own, strict=True)]

    @cached_property
    def _own(self) -> list[str]:
        return [self._answer(text) for text in self.problems.texts(self.problems.reference)]

    def _answer(self, text: str) -> str:
        found = INVALID if self.rule is None else self.rule.extract(text)
        return text if found == INVALID else normalise(found)


class ExactMatch:
    """The price ``exact-match``: share of wrong answers above the uncompressed model's share.

    Limits: needs right answers; in steps of one problem; below 0 for a plan that solves more.

    Args:
        problems: what is decoded.
        rule: how an answer is found in a text.
    """

    name = "exact-match"
    cost = 0.0

    def __init__(self, problems: DecodedProblems, rule: Filter = STRICT) -> None:
        self.problems, self.rule = problems, rule

    def price(self, decoded: Decoded) -> float:
        """Difference of shares, -1 to 1."""
        return self._wrong(decoded) - self._own

    def solved(self, decoded: Decoded) -> list[bool]:
        """Which problems were solved."""
        asked = self.problems.problems
        return [
            exact_match(self.rule.extract(text), problem.answer)
            for text, problem in zip(self.problems.texts(decoded), asked, strict=True)
        ]

    @cached_property
    def _own(self) -> float:
        return self._wrong(self.problems.reference)

    def _wrong(self, decoded: Decoded) -> float:
        solved = self.solved(decoded)
        return 1 - sum(solved) / len(solved)


@dataclass(frozen=True)
class SequentialMatch:
    """Exact match left off as soon as it is clear that too few problems are solved.

    Attributes:
        bound: share of solved problems below which a plan is out of the question.
        level: of Wilson's interval, which must lie below the bound. It is looked at again and again, so a
            plan is left off in error more often than one such interval is wrong.
        step: problems between two looks.
    """

    bound: float
    level: float = 0.99
    step: int = 8

    def count(self, solved: Iterable[bool]) -> int:
        """How many of the problems, in their order, it takes.

        >>> SequentialMatch(bound=0.8).count([False] * 64)
        8
        """
        right = seen = 0
        for seen, good in enumerate(solved, start=1):
            right += good
            if seen % self.step == 0 and wilson(right, seen, self.level).high < self.bound:
                break
        return seen
