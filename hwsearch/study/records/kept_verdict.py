"""How the finalists of a study did, as the study keeps it: the schema of `StudyRecord.finalists`."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from hwsearch.schema import Frozen

Number = Annotated[int, Field(ge=0)]


class KeptFinalist(Frozen):
    """A plan that was scored; other keys follow from these.

    Attributes:
        number: of its trial.
        loss: its loss.
        generation_ms: its predicted time.
        correct: for each problem 1 if solved.
    """

    model_config = ConfigDict(extra="ignore")

    number: Number
    loss: float
    generation_ms: float
    correct: Annotated[str, Field(pattern="^[01]+$", max_length=1_000_000)]


class KeptVerdict(Frozen):
    """All finalists, on the same problems.

    Attributes:
        target_ms: target of the study then.
        trials: how many trials had ended.
        split: which problems were asked.
        problems: how many.
        winner: number of the trial that won.
        finalists: the plans.
    """

    model_config = ConfigDict(extra="ignore")

    target_ms: float
    trials: Number
    split: str
    problems: Number
    winner: Number
    finalists: Annotated[tuple[KeptFinalist, ...], Field(min_length=1, max_length=10_000)]

    @model_validator(mode="after")
    def _on_the_same_problems(self) -> Self:
        if {len(one.correct) for one in self.finalists} != {self.problems}:
            raise ValueError(f"each finalist must have answered the {self.problems} problems")
        if self.winner not in {one.number for one in self.finalists}:
            raise ValueError(f"the winner, trial {self.winner}, must be a finalist")
        return self
