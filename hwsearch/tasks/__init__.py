"""Problems in, score out: gsm-mini, answer extraction, evaluation, confidence intervals."""

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
