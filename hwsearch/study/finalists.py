"""The last word: a study's best plans, scored by exact match on the same held-out problems.

A loss ranks plans well and cheaply, not perfectly. The few best are therefore asked real problems,
from a split that neither calibration nor the final test sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from hwsearch.denoisers.backends import backend_of
from hwsearch.plan import CompressionPlan
from hwsearch.study.objective import Objective
from hwsearch.study.records.record import update_record
from hwsearch.study.records.study import Study, ended
from hwsearch.tasks.statistics import Comparison, Interval, compare, wilson

#: Problems that finalists are asked come from this split of the task.
SPLIT = "validation"

#: Below this p value (McNemar) a finalist is less accurate than the most accurate one.
P_VALUE = 0.05


@dataclass(frozen=True)
class Finalist:
    """A plan that was scored.

    Attributes:
        number: of its trial.
        loss: its loss.
        generation_ms: its predicted time.
        correct: for each problem whether it was solved.
    """

    number: int
    loss: float
    generation_ms: float
    correct: tuple[bool, ...]

    @property
    def accuracy(self) -> float:
        """Share of the problems solved."""
        return sum(self.correct) / len(self.correct)

    @property
    def interval(self) -> Interval:
        """Wilson's 95 % interval of `accuracy`."""
        return wilson(sum(self.correct), len(self.correct))


@dataclass(frozen=True)
class Verdict:
    """Finalists, and which of them wins.

    Attributes:
        finalists: least loss first.
    """

    finalists: tuple[Finalist, ...]

    @property
    def leader(self) -> Finalist:
        """The most accurate; of several, the one of least loss."""
        return max(self.finalists, key=lambda f: (f.accuracy, -f.loss, -f.generation_ms))

    def behind(self, finalist: Finalist) -> Comparison:
        """How far a finalist is behind the leader, on the same problems."""
        return compare(self.leader.correct, finalist.correct)

    def is_tied(self, finalist: Finalist) -> bool:
        """Whether the problems do not tell it from the leader."""
        return self.behind(finalist).p_value >= P_VALUE

    @property
    def winner(self) -> Finalist:
        """Of those that the problems do not tell from the leader, the one of least loss, then time."""
        tied = [finalist for finalist in self.finalists if self.is_tied(finalist)]
        return min(tied, key=lambda f: (f.loss, f.generation_ms))

    def document(self) -> dict[str, Any]:
        """The verdict as plain data."""
        rows = [
            {**self._row(f), "correct": "".join("01"[c] for c in f.correct)} for f in self.finalists
        ]
        return {
            "split": SPLIT,
            "problems": len(self.leader.correct),
            "winner": self.winner.number,
            "finalists": rows,
        }

    def _row(self, finalist: Finalist) -> dict[str, Any]:
        behind = self.behind(finalist)
        return {
            "number": finalist.number,
            "loss": finalist.loss,
            "generation_ms": finalist.generation_ms,
            "accuracy": finalist.accuracy,
            "accuracy_interval": list(finalist.interval),
            "behind": behind.difference,
            "behind_interval": list(behind.interval),
            "p_value": behind.p_value,
        }

    @classmethod
    def of(cls, document: dict[str, Any]) -> Verdict:
        """The inverse of `document`."""
        return cls(
            tuple(
                Finalist(
                    row["number"],
                    row["loss"],
                    row["generation_ms"],
                    tuple(mark == "1" for mark in row["correct"]),
                )
                for row in document["finalists"]
            )
        )


def judge_finalists(
    study: Study,
    objective: Objective,
    count: int,
    problems: int,
    on_problem: Callable[[int], None] | None = None,
) -> Verdict | None:
    """Score the best plans of a study, and keep the verdict in it.

    What an earlier verdict on as many problems says of a plan is not asked again.

    Args:
        study: a searched study.
        objective: what it searched.
        count: plans to score, those of least loss within the target.
        problems: problems to ask each.
        on_problem: called with the number of problems just answered.

    Returns:
        The verdict; None if no plan meets the target.
    """
    known = _known(study, problems)
    chosen = study.feasible().drop_duplicates("plan").head(count)
    if chosen.empty:
        return None
    found = []
    for row in chosen.to_dict(orient="records"):
        correct = known.get(row["number"])
        if correct is None:
            correct = solved(objective, row["plan"], problems, on_problem)
        elif on_problem is not None:
            on_problem(problems)
        found.append(Finalist(row["number"], row["loss"], row["generation_ms"], correct))
    verdict = Verdict(tuple(found))
    document = {
        **verdict.document(),
        "target_ms": study.target_ms,
        "trials": len(ended(study.optuna)),
    }
    update_record(study.optuna, finalists=document)
    return verdict


def solved(
    objective: Objective,
    plan: CompressionPlan,
    problems: int,
    on_problem: Callable[[int], None] | None = None,
) -> tuple[bool, ...]:
    """Which of the held-out problems a plan solves, decoded in torch as its bundle would be.

    An autoregressive model writes one token a pass, and stops where its answer ends: what would follow
    is cut anyway.
    """
    denoiser, decoding = objective.denoiser, plan.decoding
    if denoiser.is_causal:
        decoding = denoiser.decoding.changed({"stop_at_end": True})
    backend = backend_of(*objective.workbench.network(plan))
    found = objective.task.score(
        backend, denoiser, SPLIT, problems, decoding=decoding, progress=on_problem
    )
    return found.score.correct


def verdict_of(study: Study) -> Verdict | None:
    """The verdict kept in a study, if it is of this target and of all its trials."""
    document = study.finalists
    return None if document is None else Verdict.of(document)


def _known(study: Study, problems: int) -> dict[int, tuple[bool, ...]]:
    kept, document = study.record.verdict, study.record.finalists
    if kept is None or document is None or kept.problems != problems:
        return {}
    return {finalist.number: finalist.correct for finalist in Verdict.of(document).finalists}
