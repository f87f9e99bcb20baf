"""A task: problems, how they are asked, and which answers count."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from hwsearch.tasks.extraction import FLEXIBLE, STRICT, Filter, exact_match
from hwsearch.tasks.gsm_mini import generator as gsm_mini
from hwsearch.tasks.problem import Problem
from hwsearch.tasks.statistics import Interval, wilson


@dataclass(frozen=True)
class Score:
    """How many problems were solved.

    Attributes:
        correct: for each problem whether it was solved.
    """

    correct: tuple[bool, ...]

    @property
    def solved(self) -> int:
        """Problems solved."""
        return sum(self.correct)

    @property
    def accuracy(self) -> float:
        """Share of the problems that were solved."""
        return self.solved / len(self.correct)

    @cached_property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of the accuracy."""
        return wilson(self.solved, len(self.correct))


@dataclass(frozen=True)
class Task:
    """Something to measure accuracy on.

    Attributes:
        name: as a user spells it.
        problems: ``(split, count, seed)`` to that many problems.
        prompt: ``(index, problem)`` to the text a model continues, the index being the problem's
            place in the run; None leaves it to the model's own template.
        filters: rules that find the answer in what a model wrote; the first one is the score.
        stops: what a model wrote counts up to the first of these.
        version: version of the scoring rules.
        num_shots: solved problems in a prompt.
        shot_seed: seed of the draw of those; None where nothing is drawn.
        shots: in words, where they are from.
    """

    name: str
    problems: Callable[[str, int, int], list[Problem]]
    prompt: Callable[[int, Problem], str] | None = None
    filters: tuple[Filter, ...] = (STRICT, FLEXIBLE)
    stops: tuple[str, ...] = ()
    version: float = 3.0
    num_shots: int = 0
    shot_seed: int | None = None
    shots: str = "none"

    def scores(self, problems: Sequence[Problem], texts: Sequence[str]) -> dict[str, Score]:
        """The score by every filter, by the filter's name."""
        return {rule.name: score_answers(problems, texts, rule) for rule in self.filters}


def score_answers(
    problems: Sequence[Problem], texts: Sequence[str], rule: Filter = STRICT
) -> Score:
    """Score what a model wrote, by GSM8K's rules.

    Args:
        problems: at least one.
        texts: what the model wrote for each of them.
        rule: how the answer is found in a text.

    Raises:
        ValueError: there are no problems, or not one text a problem.
    """
    if not problems:
        raise ValueError("there must be a problem to score")
    pairs = zip(problems, texts, strict=True)
    return Score(tuple(exact_match(rule.extract(text), p.answer) for p, text in pairs))


def _gsm_mini_problems(split: str, count: int, seed: int) -> list[Problem]:
    return list(islice(gsm_mini.problems(split, seed), count))


#: Generated word problems, asked with the model's own template.
GSM_MINI = Task("gsm-mini", _gsm_mini_problems)
