"""Problems in, score out: gsm-mini, answer extraction, evaluation, confidence intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hwsearch.lazy import lazy_names

if TYPE_CHECKING:
    from hwsearch.denoisers.chat.asking import Infilling
    from hwsearch.tasks.evaluation import Evaluation, Prompted, evaluate
    from hwsearch.tasks.problem import Problem, read_problems
    from hwsearch.tasks.statistics import Comparison, Interval, compare, wilson
    from hwsearch.tasks.task import GSM_MINI, Score, Task, score_answers

__all__ = [
    "GSM_MINI",
    "Comparison",
    "Evaluation",
    "Infilling",
    "Interval",
    "Problem",
    "Prompted",
    "Score",
    "Task",
    "compare",
    "evaluate",
    "read_problems",
    "score_answers",
    "wilson",
]

__getattr__ = lazy_names(
    __name__,
    {
        "hwsearch.denoisers.chat.asking": ["Infilling"],
        "hwsearch.tasks.evaluation": ["Evaluation", "Prompted", "evaluate"],
        "hwsearch.tasks.problem": ["Problem", "read_problems"],
        "hwsearch.tasks.statistics": ["Comparison", "Interval", "compare", "wilson"],
        "hwsearch.tasks.task": ["GSM_MINI", "Score", "Task", "score_answers"],
    },
)
